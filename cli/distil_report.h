// The report of `heddle distil`: report.md with its pictures, curves.svg and quality_speed.svg.
#pragma once

#include "cli/distil_plan.h"

namespace heddle::cli {

void write_report(const DistilPlan& plan, const RunCommand& run);

}  // namespace heddle::cli
