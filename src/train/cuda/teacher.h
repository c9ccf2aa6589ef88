// A teacher on a GPU.
#pragma once

#include <memory>

#include "heddle/train/teacher_model.h"

namespace heddle::train::cuda {

std::unique_ptr<TeacherModel> teacher_model(const model::ModelFiles& files, Device device,
                                            int64_t longest);

}  // namespace heddle::train::cuda
