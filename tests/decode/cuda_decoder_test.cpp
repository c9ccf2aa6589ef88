// The engine of a GPU against that of the processor, in f32: the same slots, the same tokens but
// where two are as good to within bf16, and every kind of search to its end.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "heddle/decode/choose.h"
#include "heddle/decode/scheduler.h"
#include "heddle/decode/translator.h"
#include "heddle/tensor/cuda.h"
#include "tests/decode/gpu_pair.h"
#include "tests/decode/small_translator.h"

namespace heddle::decode {
namespace {

using test::admit_and_encode;
using test::DecoderKind;
using test::drawn_source;
using test::EnginePair;
using test::gpu_config;
using test::TransformerConfig;

class DecoderGpu : public ::testing::Test {
 protected:
  void SetUp() override {
    if (cuda::device_count() == 0) GTEST_SKIP() << "no GPU";
  }
};

std::vector<float> logits_of(Engine& engine, const Step& step) {
  std::vector<float> values(step.slots.size() * static_cast<size_t>(engine.vocabulary()));
  engine.logits(step, values);
  return values;
}

/// Root of the mean square of the finite ones' difference, over that of `expected`'s deviation.
double difference(const std::vector<float>& found, const std::vector<float>& expected) {
  double square = 0, size = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(std::isfinite(found[i]), std::isfinite(expected[i])) << i;
    if (!std::isfinite(expected[i])) continue;
    square += std::pow(double{found[i]} - expected[i], 2);
    size += std::pow(double{expected[i]}, 2);
  }
  return std::sqrt(square / std::max(size, 1e-30));
}

/// What rounding through all layers may change.
double share_of(Half half) { return half == Half::bf16 ? 0.05 : 0.05 / 6; }

/// How far below the best the logit of `token` is.
float deficit(std::span<const float> row, int32_t token) {
  return *std::ranges::max_element(row) - row[static_cast<size_t>(token)];
}

TEST_F(DecoderGpu, LogitsAreTheHostsStepByStep) {
  const std::vector<test::GpuCase> cases = test::gpu_cases();
  for (size_t number = 0; number < 2 * cases.size(); ++number) {
    const test::GpuCase& each = cases[number / 2];
    const Half half = number % 2 == 0 ? Half::bf16 : Half::f16;
    SCOPED_TRACE(str(each.name, half == Half::bf16 ? ", bf16" : ", f16"));
    EnginePair pair(each.config, 40, true, half);
    Random random(3);
    std::vector<std::vector<int32_t>> sources;
    for (int i = 0; i < 33; ++i) sources.push_back(drawn_source(random, 50));
    const std::vector<int> slots = admit_and_encode(pair, sources, 20);
    std::vector<int32_t> previous(slots.size(), pair.host.start());
    for (int step = 0; step < 20; ++step) {
      // Fewer rows each time, in another order.
      const auto rows = slots.size() - static_cast<size_t>(step);
      std::vector<int> some(slots.begin(), slots.begin() + static_cast<std::ptrdiff_t>(rows));
      if (step % 2 == 1) std::ranges::reverse(some);
      const Step now{.slots = some, .previous = std::span(previous).first(rows)};
      const std::vector<float> expected = logits_of(pair.host, now);
      EXPECT_LT(difference(logits_of(*pair.gpu.engine, now), expected), share_of(half))
          << "step " << step;
      for (int32_t& token : previous) token = static_cast<int32_t>(random.between(2, 201));
    }
  }
}

TEST_F(DecoderGpu, BestIsTheHostsButForTies) {
  for (const test::GpuCase& each : test::gpu_cases()) {
    for (const bool graphs : {true, false}) {
      SCOPED_TRACE(each.name);
      EnginePair pair(each.config, 64, graphs);
      Random random(5);
      int same = 0, all = 0;
      for (int round = 0; round < 4; ++round) {  // graphs are kept from the second use on
        std::vector<std::vector<int32_t>> sources;
        for (int i = 0; i < 30 + 9 * round; ++i) sources.push_back(drawn_source(random, 40));
        const std::vector<int> slots = admit_and_encode(pair, sources, 12);
        std::vector<int32_t> previous(slots.size(), pair.host.start());
        for (int step = 0; step < 12; ++step) {
          const Step now{.slots = slots, .previous = previous};
          const std::vector<float> expected = logits_of(pair.host, now);
          std::vector<int32_t> best(slots.size());
          pair.gpu.engine->best(now, best);
          const auto width = static_cast<size_t>(pair.host.vocabulary());
          for (size_t r = 0; r < best.size(); ++r) {
            const auto row = std::span(expected).subspan(r * width, width);
            ASSERT_GE(best[r], 0);
            const float missed = deficit(row, best[r]);
            same += missed == 0;
            ++all;
            EXPECT_LT(missed, 0.25f) << "row " << r << ", step " << step;
            previous[r] = static_cast<int32_t>(std::ranges::max_element(row) - row.begin());
          }
        }
        for (Engine* engine : pair.both()) {
          for (const int slot : slots) engine->release(slot);
        }
      }
      EXPECT_GT(same, all * 9 / 10) << same << " of " << all;
    }
  }
}

TEST_F(DecoderGpu, TopAndBestUnderListsAreThoseOfItsLogits) {
  EnginePair pair(gpu_config(DecoderKind::self_attention));
  Engine& gpu = *pair.gpu.engine;
  Random random(7);
  const std::vector<int32_t> few{0, 2, 5, 7, 11, 30, 33, 100, 202}, other{3, 64, 127, 128},
      banned{5, 6, 64, 201};
  const std::vector<Tokens> candidates{few, other, few}, bans{banned, banned, {}};
  for (const int k : {1, 3, 40, 64}) {
    for (int lists = 0; lists < 4; ++lists) {
      std::vector<std::vector<int32_t>> sources;
      for (int i = 0; i < 3; ++i) sources.push_back(drawn_source(random, 20));
      // The same step three times: each has slots of its own.
      std::vector<std::vector<int>> slots;
      for (int copy = 0; copy < 3; ++copy) slots.push_back(admit_and_encode(pair, sources, 5));
      const std::vector<int32_t> previous(3, gpu.start());
      const auto step = [&](size_t copy) {
        Step made{.slots = slots[copy], .previous = previous};
        if ((lists & 1) != 0) made.candidates = candidates;
        if ((lists & 2) != 0) made.banned = bans;
        return made;
      };
      std::vector<float> logits = logits_of(gpu, step(0));
      std::vector<Choice> found(static_cast<size_t>(3 * k));
      std::vector<int32_t> best(3);
      gpu.top(step(1), k, found);
      gpu.best(step(2), best);
      for (size_t r = 0; r < 3; ++r) {
        const auto row = std::span(logits).subspan(r * 203, 203);
        log_softmax(row);
        std::vector<Choice> expected(static_cast<size_t>(k));
        best_of(row, expected);
        EXPECT_EQ(best[r], expected[0].token);
        for (size_t i = 0; i < expected.size(); ++i) {
          const Choice& each = found[r * static_cast<size_t>(k) + i];
          EXPECT_EQ(each.token, expected[i].token) << "k " << k << ", lists " << lists;
          if (each.token >= 0) {
            EXPECT_NEAR(each.log_probability, expected[i].log_probability, 1e-3);
          }
        }
      }
      for (Engine* engine : pair.both()) {
        for (const auto& each : slots) {
          for (const int slot : each) engine->release(slot);
        }
      }
    }
  }
}

TEST_F(DecoderGpu, ForksAndReordersGoOnFromTheirParents) {
  for (const DecoderKind kind : {DecoderKind::ssru, DecoderKind::self_attention}) {
    EnginePair pair(gpu_config(kind));
    Random random(11);
    std::vector<int> slots = admit_and_encode(pair, {drawn_source(random, 30)}, 40);
    std::vector<int32_t> previous{pair.host.start()};
    const auto step = [&] {
      const Step now{.slots = slots, .previous = previous};
      const std::vector<float> expected = logits_of(pair.host, now);
      EXPECT_LT(difference(logits_of(*pair.gpu.engine, now), expected), share_of(Half::bf16));
      for (int32_t& token : previous) token = static_cast<int32_t>(random.between(2, 201));
    };
    step();
    step();
    for (int i = 0; i < 3; ++i) {
      const std::vector<int> forked{pair.host.fork(slots[0]).value(),
                                    pair.gpu.engine->fork(slots[0]).value()};
      ASSERT_EQ(forked[0], forked[1]);
      slots.push_back(forked[0]);
      previous.push_back(static_cast<int32_t>(17 + i));
    }
    step();
    for (int round = 0; round < 20; ++round) {
      std::vector<int> parents;
      for (size_t i = 0; i < slots.size(); ++i)
        parents.push_back(slots[random.below(slots.size())]);
      for (Engine* engine : pair.both()) engine->reorder(slots, parents);
      step();
    }
    // What is released is free for others, whose past is empty.
    for (Engine* engine : pair.both()) {
      for (const int slot : slots) engine->release(slot);
    }
    slots = admit_and_encode(pair, {drawn_source(random, 30), drawn_source(random, 30)}, 10);
    previous.assign(2, pair.host.start());
    for (int i = 0; i < 5; ++i) step();
  }
}

std::vector<Result> run_requests(Engine& engine, const Options& options, int count) {
  Scheduler scheduler(engine, {.admission = {.encode_tokens = 300, .refill_rows = 4}});
  Random random(21);
  for (int i = 0; i < count; ++i) {
    Request request;
    request.id = request.random_key = static_cast<uint64_t>(i);
    request.source = drawn_source(random, 15);
    request.options = std::make_shared<const Options>(options);
    if (i % 5 == 1) request.prefix = {7, 9};
    scheduler.submit(std::move(request));
  }
  std::vector<Result> results, sorted(static_cast<size_t>(count));
  while (!scheduler.idle()) scheduler.step(results);
  for (Result& result : results) sorted[result.id] = std::move(result);
  return sorted;
}

TEST_F(DecoderGpu, EverySearchGivesMostlyTheHostsTokens) {
  std::vector<Options> kinds(6);
  kinds[1].scores = kinds[1].alignments = true;
  kinds[2].beam = kinds[2].n_best = 3;
  kinds[2].scores = kinds[2].alignments = true;
  kinds[3].sampling = {.enabled = true, .temperature = 0.8, .top_k = 6};
  kinds[4].repetition = {.penalty = 1.2, .no_repeat_ngram = 2};
  kinds[5].repetition = {.no_repeat_ngram = 2};
  kinds[5].min_length = 4;
  for (const DecoderKind kind : {DecoderKind::ssru, DecoderKind::self_attention}) {
    EnginePair pair(gpu_config(kind), 24);
    for (size_t k = 0; k < kinds.size(); ++k) {
      const auto expected = run_requests(pair.host, kinds[k], 50);
      const auto found = run_requests(*pair.gpu.engine, kinds[k], 50);
      int same = 0;  // the first tokens: random models soon part at a near tie
      for (size_t i = 0; i < found.size(); ++i) {
        ASSERT_EQ(found[i].hypotheses.size(), expected[i].hypotheses.size());
        const Hypothesis &a = found[i].hypotheses[0], &b = expected[i].hypotheses[0];
        const size_t count = std::min<size_t>({3, a.tokens.size(), b.tokens.size()});
        same += std::equal(a.tokens.begin(), a.tokens.begin() + static_cast<std::ptrdiff_t>(count),
                           b.tokens.begin());
        if (kinds[k].scores && a.tokens == b.tokens) {
          EXPECT_NEAR(a.log_probability, b.log_probability,
                      0.05 * static_cast<double>(a.tokens.size() + 1));
        }
        if (kinds[k].alignments && a.tokens == b.tokens) {
          ASSERT_EQ(a.alignment.size(), b.alignment.size());
          for (size_t j = 0; j < a.alignment.size(); ++j) {
            EXPECT_NEAR(a.alignment[j], b.alignment[j], 0.05);
          }
        }
      }
      EXPECT_GE(same, 25) << "search " << k;
    }
  }
}

TEST_F(DecoderGpu, EveryRunHasTheSameTokens) {
  EnginePair pair(gpu_config(DecoderKind::self_attention), 256);
  const auto together = run_requests(*pair.gpu.engine, {}, 300);
  const auto again = run_requests(*pair.gpu.engine, {}, 300);
  for (size_t i = 0; i < together.size(); ++i) {
    EXPECT_EQ(together[i].hypotheses[0].tokens, again[i].hypotheses[0].tokens) << i;
  }
}

TEST_F(DecoderGpu, TranslatesTextInOrder) {
  test::ModelFolder folder(DecoderKind::ssru);
  const std::vector<std::string> lines = test::lines_to_translate(400);
  TranslatorSettings settings = TranslatorSettings::of(DeviceType::cuda);
  settings.threads = 4;
  settings.decoders = 2;
  settings.rows = settings.refill_rows = 64;
  settings.window_lines = 100;
  const Translator translator(folder.model(), settings);
  const std::vector<Translation> all = translator.translate(lines);
  ASSERT_EQ(all.size(), lines.size());
  for (int round = 0; round < 3; ++round) {
    size_t read = 0, written = 0, same = 0;
    translator.translate_stream(
        [&](Translator::InputLine& line) {
          if (read == lines.size()) return false;
          line.text = lines[read++];
          return true;
        },
        [&](Translation&& translation) {
          same += translation.text == all[written].text;
          if (lines[written].empty()) {
            EXPECT_TRUE(translation.text.empty()) << written;
          }
          ++written;
        },
        {}, {});
    EXPECT_EQ(written, lines.size());
    EXPECT_GE(same, lines.size() / 3);  // others have parted at a near tie
  }
}

TEST_F(DecoderGpu, TakesNoMoreMemoryThanItMay) {
  const std::string shipped = HEDDLE_TEST_DATA "/../../models/docs-en-de";
  const auto lines = test::lines_to_translate(3000);
  for (const int64_t mib : {1000, 1500, 3000}) {
    TranslatorSettings settings = TranslatorSettings::of(DeviceType::cuda);
    settings.gpu_memory = mib << 20;
    const size_t before = heddle::cuda::free_memory(0);
    const Translator translator(shipped, settings);
    translator.translate(lines);
    translator.translate(lines, {.beam = 4});
    EXPECT_LE((before - heddle::cuda::free_memory(0)) >> 20, static_cast<size_t>(mib));
  }
  TranslatorSettings settings = TranslatorSettings::of(DeviceType::cuda);
  settings.gpu_memory = int64_t{500} << 20;
  try {
    const Translator translator(shipped, settings);
    FAIL() << "500 MiB were enough";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("gpu_memory: found 500 MiB"), std::string::npos)
        << error.what();
  }
}

TEST_F(DecoderGpu, LinesInF16AreTheProcessorsInF32) {
  const std::string shipped = HEDDLE_TEST_DATA "/../../models/docs-en-de";
  std::vector<std::string> lines;
  std::ifstream sample(shipped + "/sample.en");
  for (std::string line; std::getline(sample, line);) lines.push_back(line);
  ASSERT_GE(lines.size(), 100u);
  TranslatorSettings gpu = TranslatorSettings::of(DeviceType::cuda), host;
  gpu.precision = model::Precision::f16;
  host.precision = model::Precision::f32;
  const auto found = Translator(shipped, gpu).translate(lines);
  const auto expected = Translator(shipped, host).translate(lines);
  size_t same = 0;
  for (size_t i = 0; i < lines.size(); ++i) same += found[i].text == expected[i].text;
  EXPECT_GE(same + 1, lines.size());  // bf16 has 2.7 % of other lines
}

TEST_F(DecoderGpu, SaysWhatItDoesNotTake) {
  TransformerConfig config = gpu_config(DecoderKind::ssru);
  config.width = 36;
  try {
    GpuModel refused(model::random_model(config), Half::bf16);
    FAIL() << "a width of 36 was taken";
  } catch (const Error& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("36"), std::string::npos) << text;
    EXPECT_NE(text.find("--device cpu"), std::string::npos) << text;
  }
  EnginePair pair(gpu_config(DecoderKind::ssru), 4);
  const std::vector<int> slots = admit_and_encode(pair, {{5, 0}}, 1);
  const std::vector<int32_t> previous{pair.host.start()}, wrong{203};
  std::vector<int32_t> best(1);
  Engine& gpu = *pair.gpu.engine;
  EXPECT_THROW(gpu.best({.slots = slots, .previous = wrong}, best), Error);
  gpu.best({.slots = slots, .previous = previous}, best);
  EXPECT_THROW(gpu.best({.slots = slots, .previous = previous}, best), Error) << "above its limit";
  gpu.best({}, {});  // no rows
}

TEST(DecoderDevice, CasesAreModels) {
  for (const test::GpuCase& each : test::gpu_cases()) {
    SCOPED_TRACE(each.name);
    each.config.check();
    const model::Transformer transformer(model::random_model(each.config));
    EXPECT_EQ(transformer.config().width % 8, 0);
  }
}

TEST(DecoderDevice, WithoutAGpuSaysSo) {
  if (cuda::is_built() && cuda::device_count() > 0) GTEST_SKIP() << "there is a GPU";
  test::ModelFolder folder;
  try {
    const Translator translator(folder.model(), TranslatorSettings::of(DeviceType::cuda));
    FAIL() << "translated on a GPU that is not there";
  } catch (const Error& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("expected cpu"), std::string::npos) << text;
    EXPECT_NE(text.find("Hint"), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace heddle::decode
