// What adapters add to the result of a projection, in place, with its way back; the tape may be
// null.
#pragma once

#include "heddle/autograd/functions.h"

namespace heddle::autograd {

/// y += x·Wᵀ.
void add_linear(Tape* tape, const ops::Rows& x, const Linear& weights, ops::Rows& y,
                ops::Workspace& workspace);

/// Of DoRA, for each column: gain = m / length.
struct Decomposed {
  const float* gain;
  const float* inverse_length;
  float* d_magnitude;  ///< added to; null without a tape
};

/// y += (gain − 1) ∘ x + gain ∘ moved, with x = W x̃ and moved = s·B A x̃: what makes
/// gain ∘ (x + moved) of an x that is in y already.
void add_decomposed(Tape* tape, const ops::Rows& x, const ops::Rows& moved,
                    const Decomposed& factors, ops::Rows& y);

}  // namespace heddle::autograd
