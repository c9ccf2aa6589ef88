// The subcommands of heddle, one file each.
#pragma once

#include "cli/command_line.h"

namespace heddle::cli {

void add_mask_command(const Command& parent);
void add_demo_command(const Command& parent);
void add_bench_command(const Command& parent);

}  // namespace heddle::cli
