// Training on a GPU in a build without CUDA.
#include "heddle/base/error.h"
#include "heddle/train/cuda/language.h"
#include "heddle/train/cuda/teacher.h"
#include "heddle/train/cuda/translation.h"

namespace heddle::train::cuda {

namespace {

[[noreturn]] void refuse() {
  detail::throw_error(
      "device: found cuda, but this build has no CUDA; expected cpu. "
      "Hint: build where nvcc is, with HEDDLE_CUDA=ON");
}

}  // namespace

std::unique_ptr<TranslationModel> translation_model(model::ModelFiles, Device) { refuse(); }

std::unique_ptr<LanguageTraining> language_training(model::ModelFiles,
                                                    std::optional<model::Adapter>, Device) {
  refuse();
}

std::unique_ptr<TeacherModel> teacher_model(const model::ModelFiles&, Device, int64_t) { refuse(); }

}  // namespace heddle::train::cuda
