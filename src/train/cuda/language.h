// A language model that is trained on a GPU: all of it, or an adapter.
#pragma once

#include <memory>
#include <optional>

#include "heddle/tensor/buffer.h"
#include "heddle/train/language.h"

namespace heddle::train::cuda {

std::unique_ptr<LanguageTraining> language_training(model::ModelFiles files,
                                                    std::optional<model::Adapter> adapter,
                                                    Device device);

}  // namespace heddle::train::cuda
