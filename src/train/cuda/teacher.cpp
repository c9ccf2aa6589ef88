#include "heddle/train/cuda/teacher.h"

#include <algorithm>
#include <utility>

#include "heddle/model/cuda/scorer.h"
#include "heddle/train/translation.h"

namespace heddle::train::cuda {

namespace {

constexpr int64_t kTokens = 16384;

class CudaTeacher : public TeacherModel {
 public:
  CudaTeacher(const model::ModelFiles& files, int device, int64_t longest)
      : model_(files, device), tokens_(std::max(kTokens, longest)), scorer_(model_, tokens_) {}

  TeacherWords choose(const data::PackedBatch& batch, int64_t k) override {
    model::cuda::RankedTokens best = scorer_.top(view_of(batch), static_cast<int>(k));
    for (size_t i = 0; i < best.logits.size(); ++i) {
      best.logits[i] -= best.log_sums[i / static_cast<size_t>(k)];
    }
    return {std::move(best.ids), std::move(best.logits)};
  }

  bool is_shared() const override { return false; }
  int64_t tokens_at_once() const override { return tokens_; }

 private:
  model::cuda::InferenceTransformer model_;
  int64_t tokens_;
  model::cuda::Scorer scorer_;
};

}  // namespace

std::unique_ptr<TeacherModel> teacher_model(const model::ModelFiles& files, Device device,
                                            int64_t longest) {
  return std::make_unique<CudaTeacher>(files, device.index, longest);
}

}  // namespace heddle::train::cuda
