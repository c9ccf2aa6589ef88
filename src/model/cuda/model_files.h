// Models on their way to a GPU: whether the kernels take them, and their numbers in f32.
#pragma once

#include <vector>

#include "heddle/model/parameters.h"

namespace heddle::model::cuda {

/// Throws, with the hint, where a model does not fit the kernels: widths and head widths that are
/// no multiples of 8, widths beyond 16,384, heads wider than 256. `what` is to be done with it:
/// "training".
void check_fits(const TransformerConfig& config, const char* what, const char* hint);

/// In the order of parameters_of.
std::vector<Tensor> f32_values(const ModelFiles& files);

}  // namespace heddle::model::cuda
