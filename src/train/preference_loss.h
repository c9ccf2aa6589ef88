// What is learned of answers that somebody has ranked. Each pair of a better answer c and a worse
// one r of a question has a loss, a question has the mean of its pairs, and questions weigh alike.
//
//   DPO (Rafailov et al. 2023, arXiv:2305.18290), with d = ln p(answer) − ln p_reference(answer),
//   Δ = d_c − d_r, σ the logistic function, ε label_smoothing and |·| learned tokens:
//     sigmoid       −(1 − ε) ln σ(βΔ) − ε ln σ(−βΔ)          (cDPO where ε > 0)
//     sigmoid_norm  the same of Δ = d_c / |c| − d_r / |r|
//     robust        (−(1 − ε) ln σ(βΔ) + ε ln σ(−βΔ)) / (1 − 2ε)   (arXiv:2403.00409)
//     ipo           (Δ − 1 / 2β)², Δ = d_c / |c| − d_r / |r|  (arXiv:2310.12036)
//     hinge         max(0, 1 − βΔ)                           (arXiv:2305.10425)
//     each + rpo_alpha · −ln p(c) / |c|                      (arXiv:2404.19733)
//   Reward models (Bradley–Terry), with rewards s and the question's margin m:
//     −ln σ(s_c − s_r − m) + center_rewards_coefficient · (s_c + s_r)²
//
// Names are TRL's, and so are those of the figures.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "heddle/data/packer.h"
#include "heddle/model/answer_loss.h"

namespace heddle::train {

enum class DpoLossType : uint8_t { sigmoid, sigmoid_norm, robust, ipo, hinge };

/// The loss of a name: "sigmoid", "sigmoid_norm", "robust", "ipo", "hinge".
DpoLossType dpo_loss_type(std::string_view name);

struct DpoSettings {
  DpoLossType loss_type = DpoLossType::sigmoid;
  double beta = 0.1;
  double label_smoothing = 0;
  double rpo_alpha = 0;         ///< of the SFT term
  bool reference_free = false;  ///< p_reference is 1

  void check() const;
};

struct RewardSettings {
  double center_rewards_coefficient = 0;

  void check() const;
};

inline constexpr std::array<std::string_view, 8> kDpoFigures{
    "rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins",
    "logps/chosen",   "logps/rejected",   "logits/chosen",      "logits/rejected"};
inline constexpr std::array<std::string_view, 7> kRewardFigures{
    "accuracy",   "margin",         "mean_reward",     "min_reward",
    "max_reward", "rewards/chosen", "rewards/rejected"};

/// A loss of one pair and its slopes.
struct PairSlopes {
  double loss = 0, chosen = 0, rejected = 0;
};

/// Of the values (and reference values) of two answers.
struct ReferredValue {
  model::AnswerValue answer;
  double reference = 0;
};
PairSlopes dpo_loss(const DpoSettings& settings, const ReferredValue& chosen,
                    const ReferredValue& rejected);
PairSlopes reward_loss(const RewardSettings& settings, double chosen, double rejected,
                       double margin);

/// The DPO loss of a batch, which must outlive it; with reference values, or reference_free.
class DpoLoss : public model::AnswerLoss {
 public:
  DpoLoss(const DpoSettings& settings, const data::PackedBatch& batch,
          std::span<const double> reference);
  void add(size_t group, std::span<const model::AnswerValue> answers, std::span<double> slopes,
           model::LossSums& sums) const override;

 private:
  const DpoSettings& settings_;
  const data::PackedBatch& batch_;
  std::span<const double> reference_;  // [A], or empty
  std::vector<size_t> first_;          // [S], answers of the batch before each group
};

class RewardLoss : public model::AnswerLoss {
 public:
  RewardLoss(const RewardSettings& settings, const data::PackedBatch& batch)
      : settings_(settings), batch_(batch) {}
  void add(size_t group, std::span<const model::AnswerValue> answers, std::span<double> slopes,
           model::LossSums& sums) const override;

 private:
  const RewardSettings& settings_;
  const data::PackedBatch& batch_;
};

/// Keeps what a model says of the answers of a batch; teaches nothing.
class AnswerRecorder : public model::AnswerLoss {
 public:
  explicit AnswerRecorder(const data::PackedBatch& batch);
  void add(size_t group, std::span<const model::AnswerValue> answers, std::span<double> slopes,
           model::LossSums& sums) const override;

  /// [A], of all groups.
  std::vector<double> values() const { return values_; }

 private:
  std::vector<size_t> first_;
  mutable std::vector<double> values_;  // each group writes its own
};

/// The groups of a batch as a model takes them; the batch must outlive them.
std::vector<model::AnswerGroup> answer_groups(const data::PackedBatch& batch);

/// The batch with these groups of it, to be learned by this loss; all of them must outlive it.
model::TrainingBatch view_of_groups(const data::PackedBatch& batch,
                                    std::span<const model::AnswerGroup> groups,
                                    const model::AnswerLoss& loss);

}  // namespace heddle::train
