// What `heddle mask` says about a mask, for people and as JSON.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "heddle/mask/mask.h"
#include "heddle/mask/plan.h"

namespace heddle::cli {

/// Memory of one mask in the forms people use, in bytes.
struct MaskMemory {
  double mask = 0;
  double plan = 0;
  double dense_bool = 0;  ///< one byte a pair
  double dense_bias = 0;  ///< bf16, added to the scores
  double block_mask = 0;  ///< FlexAttention's BlockMask, blocks of 128 × 128

  MaskMemory(const ColumnMask& column_mask, const MaskPlan& mask_plan);
};

struct MaskReport {
  std::string title;
  std::vector<std::string> notes;
  const ColumnMask& mask;
  const MaskPlan& plan;
  double mask_seconds;
  double plan_seconds;
};

/// Pairs of rows and keys over all heads of the mask.
double all_pairs(const ColumnMask& mask);

/// Share of each tile class, over all heads: "12.5 %".
std::string tile_share(const MaskPlan& plan, int64_t tiles);

/// Several lines, the picture not included.
std::string report_text(const MaskReport& report);

/// One JSON object on one line.
std::string report_json(const MaskReport& report);

}  // namespace heddle::cli
