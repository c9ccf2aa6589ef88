// Training on a GPU in a build without CUDA.
#include "heddle/base/error.h"
#include "heddle/train/cuda/translation.h"

namespace heddle::train::cuda {

std::unique_ptr<TranslationModel> translation_model(model::ModelFiles, Device) {
  detail::throw_error(
      "device: found cuda, but this build has no CUDA; expected cpu. "
      "Hint: build where nvcc is, with HEDDLE_CUDA=ON");
}

}  // namespace heddle::train::cuda
