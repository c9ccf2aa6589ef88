// The single-precision values that training on the host updates.
#pragma once

#include "heddle/model/lora.h"
#include "heddle/model/parameters.h"

namespace heddle::model {

/// A parameter's numbers in f32, in memory of their own.
Tensor own_copy(const Parameter& parameter);

/// Every parameter in single precision, in memory of its own if it is trained: all of them, or with
/// an adapter those that it has.
ModelFiles masters(ModelFiles files, const Adapter* adapter);

}  // namespace heddle::model
