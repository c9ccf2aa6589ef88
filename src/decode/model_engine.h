// The engine of one Transformer on the processor, an encoder–decoder or a language model: its
// weights are shared, the decoding state and the scratch memory are its own, so that each worker
// thread has one.
#pragma once

#include <memory>
#include <vector>

#include "heddle/base/threads.h"
#include "heddle/decode/engine.h"
#include "heddle/decode/engine_settings.h"
#include "heddle/decode/profile.h"
#include "heddle/model/decoder_state.h"
#include "heddle/model/transformer.h"
#include "heddle/ops/project.h"
#include "heddle/ops/workspace.h"

namespace heddle::decode {

class ModelEngine : public Engine {
 public:
  /// The transformer must outlive the engine.
  ModelEngine(const model::Transformer& transformer, const EngineSettings& settings);

  int64_t vocabulary() const override;
  int32_t start() const override;
  int32_t end() const override;
  int64_t max_positions() const override;
  int rows() const override { return settings_.rows; }
  int64_t source_tokens() const override { return settings_.source_tokens; }

  std::optional<int> admit(int64_t source_length, int64_t target_limit) override;
  std::optional<int> fork(int slot) override;
  void reorder(std::span<const int> slots, std::span<const int> parents) override;
  void release(int slot) override;
  void encode(std::span<const int32_t> tokens, std::span<const int32_t> offsets,
              std::span<const int> slots) override;
  void advance(const Step& step) override;

  /// Language models: reads tokens [T], those of slots[s] = [offsets[s], offsets[s + 1]), and
  /// chooses nothing. All but the last token of a prompt: that is the `previous` of its first step.
  void prefill(std::span<const int32_t> tokens, std::span<const int32_t> offsets,
               std::span<const int> slots);
  int64_t length(int slot) const { return state_.length(slot); }  ///< tokens read
  int64_t state_bytes() const { return state_.bytes(); }
  void best(const Step& step, std::span<int32_t> tokens) override;
  void top(const Step& step, int k, std::span<Choice> choices) override;
  void logits(const Step& step, std::span<float> values) override;
  void keep_alignments(bool keep) override { keeps_alignments_ = keep; }
  std::span<const float> alignment(int row) const override;

  /// Seconds spent so far; encoder, decoder and projection alone.
  const Profile& profile() const { return profile_; }

 private:
  void decode(const Step& step, ops::Rows& hidden);
  ops::Projection projection(const Step& step);

  const model::Transformer& transformer_;
  EngineSettings settings_;
  std::vector<float> bias_;  // [V], −inf where nothing is ever written
  ops::Workspace workspace_;
  model::DecoderState state_;
  Profile profile_;

  // Lists of the step at hand, ragged.
  std::vector<int32_t> candidate_ids_, candidate_offsets_, banned_ids_, banned_offsets_;

  bool keeps_alignments_ = false;
  std::vector<float> alignments_;  // [R, alignment_stride_]
  int64_t alignment_stride_ = 0;
  std::vector<int64_t> alignment_lengths_;
};

}  // namespace heddle::decode
