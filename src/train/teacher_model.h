// One teacher: what it finds most probable at each word of a translation.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "heddle/data/packer.h"
#include "heddle/model/parameters.h"
#include "heddle/tensor/buffer.h"

namespace heddle::train {

/// Of all target positions of a batch, best first.
struct TeacherWords {
  std::vector<int32_t> ids;  ///< [Tt, k]; −1: none
  std::vector<float> logs;   ///< [Tt, k]: ln p
};

class TeacherModel {
 public:
  virtual ~TeacherModel() = default;

  virtual TeacherWords choose(const data::PackedBatch& batch, int64_t k) = 0;

  /// Whether several threads may call choose() at once.
  virtual bool is_shared() const = 0;
  virtual int64_t tokens_at_once() const = 0;  ///< of either side of a batch that it likes
};

/// In f32 on the host, or in bf16 on a GPU for batches of at most `longest` tokens a side, if that
/// is more than it likes.
std::unique_ptr<TeacherModel> make_teacher_model(const model::ModelFiles& files, Device device,
                                                 int64_t longest);

}  // namespace heddle::train
