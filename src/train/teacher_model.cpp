#include "heddle/train/teacher_model.h"

#include "heddle/model/transformer.h"
#include "heddle/ops/project.h"
#include "heddle/train/cuda/teacher.h"
#include "heddle/train/translation.h"

namespace heddle::train {

namespace {

class HostTeacher : public TeacherModel {
 public:
  explicit HostTeacher(const model::ModelFiles& files)
      : transformer_(files, model::Precision::f32) {}

  TeacherWords choose(const data::PackedBatch& batch, int64_t k) override {
    ops::Workspace workspace;
    const Tensor hidden = transformer_.forward(view_of(batch).pair, workspace);  // [Tt, D]
    const int64_t count = hidden.dim(0), width = hidden.dim(1);
    ops::Rows rows(const_cast<float*>(hidden.data<float>()), count, width, width, workspace);
    TeacherWords made{std::vector<int32_t>(static_cast<size_t>(count * k)),
                      std::vector<float>(static_cast<size_t>(count * k))};
    std::vector<float> log_sums(static_cast<size_t>(count));
    const std::span<const float> bias = transformer_.output_bias();
    ops::top_k(rows,
               {.weight = &transformer_.output(), .bias = bias.empty() ? nullptr : bias.data()}, k,
               {made.ids.data(), made.logs.data(), log_sums.data()}, workspace);
    for (size_t i = 0; i < made.logs.size(); ++i) {
      made.logs[i] -= log_sums[i / static_cast<size_t>(k)];
    }
    return made;
  }

  bool is_shared() const override { return true; }
  int64_t tokens_at_once() const override { return 1024; }

 private:
  model::Transformer transformer_;
};

}  // namespace

std::unique_ptr<TeacherModel> make_teacher_model(const model::ModelFiles& files, Device device,
                                                 int64_t longest) {
  if (device.type == DeviceType::cuda) return cuda::teacher_model(files, device, longest);
  return std::make_unique<HostTeacher>(files);
}

}  // namespace heddle::train
