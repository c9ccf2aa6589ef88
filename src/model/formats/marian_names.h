// Marian's names of the weights, beside the canonical ones.
#pragma once

#include <string>
#include <vector>

#include "heddle/model/config.h"

namespace heddle::model {

enum class MarianKind : unsigned char {
  table,   ///< [V, D] in both
  matrix,  ///< [in, out] there, [out, in] here
  vector,  ///< [1, N] there, [N] here
};

struct MarianName {
  std::string marian;
  std::string canonical;
  MarianKind kind;
};

/// Every weight of a model of this config. A learned position table is one in Marian and appears
/// here twice, for encoder and decoder.
std::vector<MarianName> marian_names(const TransformerConfig& config);

}  // namespace heddle::model
