// A mask with the plan made from it, as Python holds it.
#pragma once

#include "heddle/mask/mask.h"
#include "heddle/mask/plan.h"

namespace heddle::python {

struct PlannedMask {
  ColumnMask mask;
  MaskPlan plan;
};

}  // namespace heddle::python
