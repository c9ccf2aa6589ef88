// The definition of attention, in double precision: shipped as the last row of the table, and the
// only oracle of the tests.
#pragma once

#include "heddle/attention/table.h"

namespace heddle::attention::reference {

bool applies(const Args& args, Pass pass);  ///< any host tensors of a float type
void forward(const Args& args);
void backward(const Args& args, const Gradients& gradients);

}  // namespace heddle::attention::reference
