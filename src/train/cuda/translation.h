// A translation Transformer that is trained on a GPU.
#pragma once

#include <memory>

#include "heddle/tensor/buffer.h"
#include "heddle/train/translation.h"

namespace heddle::train::cuda {

std::unique_ptr<TranslationModel> translation_model(model::ModelFiles files, Device device);

}  // namespace heddle::train::cuda
