// Language models: what transformers computes, in every way that they can be read and run.
#include <gtest/gtest.h>

#include <bit>
#include <numeric>

#include "heddle/base/error.h"
#include "heddle/model/training.h"
#include "tests/model/language_models.h"

namespace heddle::model {
namespace {

constexpr double kToTransformers = 5e-6;

std::vector<float> row(const std::vector<float>& rows, int64_t at, int64_t width) {
  return {rows.begin() + at * width, rows.begin() + (at + 1) * width};
}

TEST(LanguageModel, ForwardIsTransformers) {
  for (const std::string& name : language_names()) {
    SCOPED_TRACE(name);
    const LanguageGolden golden(name);
    const Transformer model(load_model(language_folder(name)), Precision::f32);
    EXPECT_TRUE(model.config().is_language_model());
    EXPECT_LT(language_error(forward_logits(model, golden.texts()), golden.logits),
              kToTransformers);
  }
}

TEST(LanguageModel, GgufIsTransformers) {
  for (const char* name : {"llama31", "qwen2", "gemma3_even"}) {
    SCOPED_TRACE(name);
    const LanguageGolden golden(name);
    const std::string path = language_folder(name) + "/model.gguf";
    EXPECT_EQ(recognise(path), Format::gguf);
    const Transformer model(load_model(path), Precision::f32);
    EXPECT_EQ(model.config(), load_model(language_folder(name)).config);
    EXPECT_LT(language_error(forward_logits(model, golden.texts()), golden.logits),
              kToTransformers);
  }
}

TEST(LanguageModel, PackedIsOneByOne) {
  for (const std::string& name : language_names()) {
    SCOPED_TRACE(name);
    const LanguageGolden golden(name);
    const Transformer model(load_model(language_folder(name)), Precision::f32);
    const std::vector<float> packed = forward_logits(model, golden.texts());
    std::vector<float> alone;
    for (size_t s = 0; s < golden.count(); ++s) {
      const std::vector<int32_t> text = golden.text(s),
                                 offsets{0, golden.offsets[s + 1] - golden.offsets[s]};
      const std::vector<float> one =
          forward_logits(model, {.targets = text, .target_offsets = offsets});
      alone.insert(alone.end(), one.begin(), one.end());
    }
    EXPECT_LT(language_error(packed, alone), 1e-6);
  }
}

/// Logits behind the first `prompt` tokens of each text and behind each one after them.
class Reader {
 public:
  Reader(const Transformer& model, const LanguageGolden& golden, DType memory)
      : model_(model),
        golden_(golden),
        state_(model, {.rows = static_cast<int>(golden.count()),
                       .target_tokens = std::ssize(golden.tokens),
                       .memory = memory}) {
    for (size_t s = 0; s < golden.count(); ++s) {
      slots_.push_back(*state_.admit(0, golden.offsets[s + 1] - golden.offsets[s]));
    }
  }

  /// The first tokens of these texts, as one pack. [S, V]
  std::vector<float> prefill(const std::vector<size_t>& texts, int32_t longest) {
    std::vector<int32_t> tokens, offsets{0};
    std::vector<int> slots;
    for (const size_t s : texts) {
      const std::vector<int32_t> text = golden_.text(s);
      const auto first = static_cast<size_t>(state_.length(slots_[s]));
      const size_t end = std::min(text.size(), first + static_cast<size_t>(longest));
      tokens.insert(tokens.end(), text.begin() + static_cast<int64_t>(first),
                    text.begin() + static_cast<int64_t>(end));
      offsets.push_back(static_cast<int32_t>(tokens.size()));
      slots.push_back(slots_[s]);
    }
    ops::Workspace workspace;
    ops::Rows hidden(std::ssize(slots), model_.config().width, workspace);
    model_.prefill(tokens, offsets, state_, slots, hidden, workspace);
    return logits_of(model_, hidden);
  }

  /// One more token of a text. [V]
  std::vector<float> step(size_t text) {
    ops::Workspace workspace;
    ops::Rows hidden(1, model_.config().width, workspace);
    const auto at = static_cast<size_t>(state_.length(slots_[text]));
    model_.decode_step(state_, {{slots_[text]}}, {{golden_.text(text)[at]}}, hidden, workspace);
    return logits_of(model_, hidden);
  }

  int64_t read(size_t text) const { return state_.length(slots_[text]); }

 private:
  const Transformer& model_;
  const LanguageGolden& golden_;
  DecoderState state_;
  std::vector<int> slots_;
};

TEST(LanguageModel, PromptsAndStepsAreTheForward) {
  for (const std::string& name : language_names()) {
    SCOPED_TRACE(name);
    const LanguageGolden golden(name);
    const Transformer model(load_model(language_folder(name)), Precision::f32);
    const int64_t vocabulary = model.config().target_vocabulary;
    std::vector<size_t> all(golden.count());
    std::iota(all.begin(), all.end(), 0);
    for (const int32_t prompt : {1, 4, 12}) {  // 12: longer than the window
      Reader reader(model, golden, DType::f32);
      const std::vector<float> first = reader.prefill(all, prompt);
      for (const size_t s : all) {
        std::vector<float> logits = row(first, static_cast<int64_t>(s), vocabulary);
        for (int64_t at = golden.offsets[s] + reader.read(s) - 1;; ++at) {
          EXPECT_LT(language_error(logits, row(golden.logits, at, vocabulary)), 1e-4)
              << "text " << s << " token " << at;
          if (at + 1 == golden.offsets[s + 1]) break;
          logits = reader.step(s);
        }
      }
    }
  }
}

TEST(LanguageModel, PromptsAreStepsToTheBit) {
  for (const std::string& name : language_names()) {
    SCOPED_TRACE(name);
    const LanguageGolden golden(name);
    const Transformer model(load_model(language_folder(name)));
    for (const DType memory : {DType::f32, DType::bf16}) {
      Reader packed(model, golden, memory), pieces(model, golden, memory),
          steps(model, golden, memory);
      const std::vector<float> at_once = packed.prefill({3, 1, 0}, 100);
      pieces.prefill({0, 1}, 3);
      const std::vector<float> in_two = pieces.prefill({1}, 100);
      std::vector<float> one_by_one;
      while (steps.read(1) < 23) one_by_one = steps.step(1);
      const std::vector<float> second = row(at_once, 1, model.config().target_vocabulary);
      for (size_t i = 0; i < second.size(); ++i) {
        ASSERT_EQ(std::bit_cast<uint32_t>(second[i]), std::bit_cast<uint32_t>(one_by_one[i]));
        ASSERT_EQ(std::bit_cast<uint32_t>(second[i]), std::bit_cast<uint32_t>(in_two[i]));
      }
    }
  }
}

TEST(LanguageModel, ForksGoOnAlone) {
  const LanguageGolden golden("gemma3");
  const Transformer model(load_model(language_folder("gemma3")), Precision::f32);
  DecoderState state(model, {.rows = 3, .target_tokens = 90});
  ops::Workspace workspace;
  ops::Rows one(1, model.config().width, workspace), two(2, model.config().width, workspace);
  const int first = *state.admit(0, 30);
  const std::vector<int32_t> text = golden.text(1), offsets{0, 12};
  model.prefill(std::span(text).first(12), offsets, state, {{first}}, one, workspace);
  const int second = *state.fork(first);
  EXPECT_EQ(state.length(second), 12);
  model.decode_step(state, {{second, first}}, {{text[12], 3}}, two, workspace);
  // Hypotheses change places: `first` goes on with what the fork has read.
  state.reorder({{first, second}}, {{second, first}});
  model.decode_step(state, {{second, first}}, {{5, text[13]}}, two, workspace);
  const std::vector<float> both = logits_of(model, two);
  const int64_t vocabulary = model.config().target_vocabulary;
  const int64_t at = golden.offsets[1] + 13;
  EXPECT_LT(language_error(row(both, 1, vocabulary), row(golden.logits, at, vocabulary)), 1e-4);
  EXPECT_GT(language_error(row(both, 0, vocabulary), row(golden.logits, at, vocabulary)), 1e-2);
  state.release(first);
  EXPECT_EQ(state.live(), 1);
  EXPECT_TRUE(state.admit(0, 30));
}

TEST(LanguageModel, RefusesWhatIsNotItsOwn) {
  const LanguageGolden golden("llama");
  const Transformer model(load_model(language_folder("llama")));
  EXPECT_THROW(DecoderState(model, {.rows = 1, .source_tokens = 8, .target_tokens = 8}), Error);
  DecoderState state(model, {.rows = 1, .target_tokens = 8});
  EXPECT_THROW(state.admit(1, 8), Error);
  const int slot = *state.admit(0, 4);
  ops::Workspace workspace;
  ops::Rows hidden(1, model.config().width, workspace);
  const std::vector<int32_t> tokens{1, 2, 3, 4, 5};
  const auto prefill = [&](int32_t count) {
    const std::vector<int32_t> offsets{0, count};
    model.prefill(std::span(tokens).first(static_cast<size_t>(count)), offsets, state, {{slot}},
                  hidden, workspace);
  };
  EXPECT_THROW(prefill(5), Error);
  EXPECT_THROW(prefill(0), Error);
  EXPECT_EQ(state.length(slot), 0);
  prefill(4);
  EXPECT_EQ(state.length(slot), 4);
  EXPECT_THROW(model.encode(tokens, {{0, 5}}, state, {{slot}}, workspace), Error);
  EXPECT_THROW(model.forward({.sources = tokens,
                              .source_offsets = {{0, 5}},
                              .targets = tokens,
                              .target_offsets = {{0, 5}}},
                             workspace),
               Error);
}

}  // namespace
}  // namespace heddle::model
