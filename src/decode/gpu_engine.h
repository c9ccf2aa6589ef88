// The engine of one Transformer on a GPU (model/cuda/decoder.h).
#pragma once

#include <optional>
#include <vector>

#include "heddle/decode/engine.h"
#include "heddle/decode/engine_settings.h"
#include "heddle/decode/profile.h"
#include "heddle/model/cuda/decoder.h"

namespace heddle::decode {

class GpuEngine : public Engine {
 public:
  /// The model must outlive the engine.
  GpuEngine(const model::cuda::InferenceTransformer& model, const EngineSettings& settings);

  int64_t vocabulary() const override { return config_.target_vocabulary; }
  int32_t start() const override { return config_.decoder_start; }
  int32_t end() const override { return config_.eos; }
  int64_t max_positions() const override { return config_.max_positions; }
  int rows() const override { return settings_.rows; }
  int64_t source_tokens() const override { return settings_.source_tokens; }

  std::optional<int> admit(int64_t source_length, int64_t target_limit) override;
  std::optional<int> fork(int slot) override;
  void reorder(std::span<const int> slots, std::span<const int> parents) override;
  void release(int slot) override;
  void encode(std::span<const int32_t> tokens, std::span<const int32_t> offsets,
              std::span<const int> slots) override;
  void advance(const Step& step) override;
  void best(const Step& step, std::span<int32_t> tokens) override;
  void top(const Step& step, int k, std::span<Choice> choices) override;
  void logits(const Step& step, std::span<float> values) override;
  void keep_alignments(bool keep) override { keeps_alignments_ = keep; }
  std::span<const float> alignment(int row) const override { return decoder_.alignment(row); }

  /// Seconds of the thread: the encoder's work is queued and not waited for, so most of it counts
  /// for the decoder, and so does the projection.
  const Profile& profile() const { return profile_; }

 private:
  model::cuda::StepInput input_of(const Step& step) const;

  const model::TransformerConfig& config_;
  EngineSettings settings_;
  model::cuda::Decoder decoder_;
  bool keeps_alignments_ = false;
  Profile profile_;
};

}  // namespace heddle::decode
