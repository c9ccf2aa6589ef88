// What holds of every model beyond its numbers: a sentence has the same bits in every batch, low
// precision stays close, and bad input is refused by name.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "heddle/base/error.h"
#include "heddle/base/random.h"
#include "tests/model/random_model.h"

namespace heddle::model {
namespace {

TransformerConfig small(DecoderKind kind = DecoderKind::self_attention) {
  TransformerConfig config;
  config.width = 48;
  config.source_vocabulary = config.target_vocabulary = 61;
  config.encoder = {.layers = 2, .heads = 4, .key_value_heads = 0, .ffn_width = 96};
  config.decoder = {.layers = 2, .heads = 4, .key_value_heads = 0, .ffn_width = 80};
  config.decoder_kind = kind;
  config.positions = Positions::sinusoidal_marian;
  config.activation = ActivationKind::relu;
  config.scale_embedding = true;
  return config;
}

TransformerConfig pre_norm() {
  TransformerConfig config = small();
  config.preprocess = "n";
  config.postprocess = "da";
  config.postprocess_top = "n";
  config.gated = true;
  config.activation = ActivationKind::silu;
  config.positions = Positions::rotary;
  config.encoder.key_value_heads = config.decoder.key_value_heads = 2;
  return config;
}

Pairs random_pairs(size_t count, uint64_t seed) {
  Random random(seed);
  Pairs pairs;
  for (size_t i = 0; i < count; ++i) {
    std::vector<int32_t> source(static_cast<size_t>(random.between(1, i == 3 ? 140 : 30)));
    std::vector<int32_t> target(static_cast<size_t>(random.between(1, 30)));
    for (int32_t& token : source) token = static_cast<int32_t>(random.below(61));
    for (int32_t& token : target) token = static_cast<int32_t>(random.below(61));
    target[0] = -1;
    pairs.sources.push_back(std::move(source));
    pairs.targets.push_back(std::move(target));
  }
  return pairs;
}

/// The parameters as an intgemm model has them: i8 with one scale a matrix and a fixed input step.
/// With `apart`, every matrix has a step of its own, so that none can be joined with another.
ModelFiles quantised(ModelFiles files, bool apart) {
  float step = 0.02f;
  Parameters parameters;
  for (const auto& [name, parameter] : files.parameters) {
    if (parameter.values.rank() != 2 || name.find("position") != std::string::npos) {
      parameters.add(name, parameter);
      continue;
    }
    const auto* from = parameter.values.data<float>();
    const int64_t count = parameter.values.elements();
    float largest = 0;
    for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(from[i]));
    Parameter made{.values = Tensor::empty(parameter.values.shape(), DType::i8),
                   .scales = Tensor::empty({1}, DType::f32),
                   .input_scale = step};
    if (apart) step *= 1.01f;
    made.scales.data<float>()[0] = largest / 127;
    for (int64_t i = 0; i < count; ++i) {
      made.values.data<int8_t>()[i] = static_cast<int8_t>(std::lround(from[i] / largest * 127));
    }
    parameters.add(name, std::move(made));
  }
  files.parameters = std::move(parameters);
  return files;
}

using Hidden = std::vector<std::vector<float>>;

/// Largest difference over all pairs, relative to the largest number.
float difference(const Hidden& found, const Hidden& expected) {
  float worst = 0, largest = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(found[i].size(), expected[i].size());
    for (size_t j = 0; j < expected[i].size(); ++j) {
      const float apart = std::abs(found[i][j] - expected[i][j]);
      worst = apart <= worst ? worst : apart;  // NaN is kept
      largest = std::max(largest, std::abs(expected[i][j]));
    }
  }
  return worst / largest;
}

/// Each pair alone, then batches of random pairs in random order: the same bits.
void expect_batches_change_nothing(const Transformer& model, DType memory = DType::f32,
                                   const Pairs& pairs = random_pairs(9, 5)) {
  Hidden alone;
  for (const size_t i : pairs.all()) alone.push_back(by_steps(model, pairs, {i}, memory)[0]);
  Random random(6);
  for (int round = 0; round < 12; ++round) {
    std::vector<size_t> order;
    for (const size_t i : pairs.all()) {
      if (round == 0 || random.below(2) == 0) order.push_back(i);
    }
    for (size_t i = order.size(); i > 1; --i) {
      std::swap(order[i - 1], order[static_cast<size_t>(random.below(i))]);
    }
    const Hidden together = by_steps(model, pairs, order, memory);
    for (size_t n = 0; n < order.size(); ++n) ASSERT_EQ(together[n], alone[order[n]]);
  }
}

TEST(Transformer, BatchesChangeNoBit) {
  for (const TransformerConfig& config : {small(), small(DecoderKind::ssru), pre_norm()}) {
    for (const Precision precision : {Precision::f32, Precision::bf16, Precision::int8}) {
      SCOPED_TRACE(static_cast<int>(precision));
      expect_batches_change_nothing(Transformer(random_model(config), precision));
    }
    expect_batches_change_nothing(Transformer(random_model(config)), DType::bf16);
    expect_batches_change_nothing(Transformer(quantised(random_model(config), false)));
    expect_batches_change_nothing(Transformer(quantised(random_model(config), true)));
  }
}

Hidden forward(const Transformer& model, const Pairs& pairs) {
  const Pairs::Packed packed = pairs.pack(pairs.all());
  ops::Workspace workspace;
  const Tensor hidden = model.forward(packed.view(), workspace);
  Hidden out;
  const int64_t width = model.config().width;
  for (size_t s = 0; s + 1 < packed.target_offsets.size(); ++s) {
    out.emplace_back(hidden.data<float>() + packed.target_offsets[s] * width,
                     hidden.data<float>() + packed.target_offsets[s + 1] * width);
  }
  return out;
}

/// Heads and sentences of the sizes between which attention takes another way.
TEST(Transformer, BatchesChangeNoBitOfLongSentences) {
  TransformerConfig config = small();
  config.width = 64;
  Pairs pairs = random_pairs(9, 13);
  pairs.sources[1].resize(250, 7);
  pairs.sources[2].resize(257, 8);
  pairs.sources[4].resize(513, 9);
  const Transformer model(random_model(config));
  expect_batches_change_nothing(model, DType::f32, pairs);
  EXPECT_LT(difference(by_steps(model, pairs, pairs.all()), forward(model, pairs)), 1e-5f);
}

TEST(Transformer, ForwardIsTheStepsToRounding) {
  const Pairs pairs = random_pairs(9, 7);
  for (const TransformerConfig& config : {small(), small(DecoderKind::ssru), pre_norm()}) {
    const Transformer model(random_model(config));
    EXPECT_LT(difference(forward(model, pairs), by_steps(model, pairs, pairs.all())), 1e-5f);
  }
}

TEST(Transformer, LowPrecisionStaysClose) {
  const Pairs pairs = random_pairs(9, 8);
  TransformerConfig folds = small();
  folds.activation = ActivationKind::quick_gelu;
  for (const TransformerConfig& config : {small(), small(DecoderKind::ssru), pre_norm(), folds}) {
    const ModelFiles files = random_model(config);
    const Hidden exact = by_steps(Transformer(files), pairs, pairs.all());
    const auto apart = [&](const ModelFiles& other, Precision precision) {
      return difference(by_steps(Transformer(other, precision), pairs, pairs.all()), exact);
    };
    EXPECT_LT(apart(files, Precision::bf16), 0.03f);
    EXPECT_GT(apart(files, Precision::bf16), 1e-4f);
    EXPECT_LT(apart(files, Precision::int8), 0.1f);
    EXPECT_GT(apart(files, Precision::int8), 1e-4f);
    // Fixed steps, chosen without looking, clip here and there.
    for (const bool steps_differ : {false, true}) {
      const ModelFiles fixed = quantised(files, steps_differ);
      const Hidden widened = by_steps(Transformer(fixed, Precision::f32), pairs, pairs.all());
      EXPECT_LT(difference(by_steps(Transformer(fixed), pairs, pairs.all()), widened), 0.3f);
    }
  }
}

/// quick_gelu(x) = silu(1.702 x) / 1.702, so that the second matrix reads larger inputs.
TEST(Transformer, QuickGeluIsSiluOfOtherWeights) {
  const Pairs pairs = random_pairs(4, 12);
  TransformerConfig config = small();
  config.activation = ActivationKind::quick_gelu;
  ModelFiles files = quantised(random_model(config), true);
  const Hidden found = by_steps(Transformer(files), pairs, pairs.all());
  files.config.activation = ActivationKind::silu;
  for (const auto& [name, parameter] : files.parameters) {
    const bool first = name.find("fc1") != std::string::npos;
    if (!first && name.find("fc2.weight") == std::string::npos) continue;
    Parameter& changed = *files.parameters.find(name);
    Tensor& numbers = changed.scales.defined() ? changed.scales : changed.values;
    for (int64_t i = 0; i < numbers.elements(); ++i) {
      numbers.data<float>()[i] *= first ? 1.702f : 1 / 1.702f;
    }
    if (!first) changed.input_scale *= 1.702f;
  }
  EXPECT_LT(difference(by_steps(Transformer(files), pairs, pairs.all()), found), 1e-6f);
}

/// The f32 model of quantised weights computes with the numbers that they stand for.
TEST(Transformer, DequantisesOnDemand) {
  const Pairs pairs = random_pairs(4, 9);
  const ModelFiles files = quantised(random_model(small()), true);
  ModelFiles plain = files;
  for (const auto& [name, parameter] : files.parameters) {
    plain.parameters.find(name)->values = to_f32(parameter);
    plain.parameters.find(name)->scales = {};
    plain.parameters.find(name)->input_scale = 0;
  }
  const Hidden expected = by_steps(Transformer(plain), pairs, pairs.all());
  const Hidden found = by_steps(Transformer(files, Precision::f32), pairs, pairs.all());
  EXPECT_LT(difference(found, expected), 1e-6f);
}

/// Beams: forks go on from where they branched off.
TEST(Transformer, ForksAndReorderedSlotsGoOnAsIfDecodedAlone) {
  for (const TransformerConfig& config : {small(), small(DecoderKind::ssru), pre_norm()}) {
    const Transformer model(random_model(config));
    Pairs pairs = random_pairs(1, 10);
    pairs.sources.resize(3, pairs.sources[0]);
    pairs.targets = {{-1, 4, 5, 6, 7}, {-1, 4, 9, 6, 3}, {-1, 4, 9, 8, 2}};
    const Hidden alone = by_steps(model, pairs, {0, 1, 2});

    DecoderState state(model, {.rows = 3, .source_tokens = 40, .target_tokens = 30});
    ops::Workspace workspace;
    const int32_t length = static_cast<int32_t>(pairs.sources[0].size());
    const std::vector<int32_t> offsets{0, length};
    std::vector<int> slots{*state.admit(length, 5)};
    model.encode(pairs.sources[0], offsets, state, slots, workspace);
    const auto step = [&](const std::vector<int>& which, const std::vector<int32_t>& tokens) {
      ops::Rows out(static_cast<int64_t>(which.size()), config.width, workspace);
      model.decode_step(state, which, tokens, out, workspace);
      Hidden rows;
      for (int64_t r = 0; r < out.count(); ++r)
        rows.emplace_back(out.row(r), out.row(r) + config.width);
      return rows;
    };
    const auto row_of = [&](size_t pair, int at) {
      return std::vector<float>(alone[pair].begin() + at * config.width,
                                alone[pair].begin() + (at + 1) * config.width);
    };
    step(slots, {-1});
    step(slots, {4});
    slots.push_back(*state.fork(slots[0]));
    EXPECT_EQ(step(slots, {5, 9})[1], row_of(1, 2));
    slots.push_back(*state.fork(slots[0]));
    // Slot 0 takes slot 1's state, slot 2 too, slot 1 takes slot 0's.
    state.reorder(slots, std::vector<int>{slots[1], slots[0], slots[1]});
    const Hidden rows = step(slots, {6, 6, 8});
    EXPECT_EQ(rows[0], row_of(1, 3));
    EXPECT_EQ(rows[1], row_of(0, 3));
    EXPECT_EQ(rows[2], row_of(2, 3));
    EXPECT_EQ(step({slots[2], slots[1]}, {2, 7}), (Hidden{row_of(2, 4), row_of(0, 4)}));
  }
}

/// Alignments of the first step of each pair, 64 floats a row; −1 where nothing was written.
std::vector<float> first_alignments(const Transformer& model, const Pairs& pairs) {
  const auto rows = static_cast<int>(pairs.sources.size());
  DecoderState state(model, {.rows = rows, .source_tokens = 100, .target_tokens = 9});
  ops::Workspace workspace;
  const Pairs::Packed packed = pairs.pack(pairs.all());
  std::vector<int> slots;
  for (const auto& source : pairs.sources) {
    slots.push_back(*state.admit(static_cast<int64_t>(source.size()), 3));
  }
  model.encode(packed.sources, packed.source_offsets, state, slots, workspace);
  std::vector<float> weights(static_cast<size_t>(rows) * 64, -1.0f);
  const AlignmentRows alignments{weights.data(), 64};
  ops::Rows out(rows, model.config().width, workspace);
  model.decode_step(state, slots, std::vector<int32_t>(pairs.sources.size(), -1), out, workspace,
                    &alignments);
  return weights;
}

TEST(Transformer, AlignmentsAreTheSoftmaxOfTheSource) {
  const Pairs pairs = random_pairs(3, 11);
  TransformerConfig config = small();
  std::vector<float> mean(3 * 64, 0.0f);
  for (const int head : {0, 1, 2, 3, -1}) {
    config.alignment_head = head;
    const std::vector<float> weights = first_alignments(Transformer(random_model(config)), pairs);
    for (size_t r = 0; r < 3; ++r) {
      const auto begin = weights.begin() + static_cast<int64_t>(r) * 64;
      const auto length = static_cast<int64_t>(pairs.sources[r].size());
      EXPECT_NEAR(std::accumulate(begin, begin + length, 0.0), 1.0, 1e-5);
      EXPECT_GE(*std::min_element(begin, begin + length), 0.0f);
      EXPECT_EQ(begin[length], -1.0f);  // nothing behind the source
    }
    for (size_t i = 0; i < weights.size(); ++i) {
      if (head >= 0) {
        mean[i] += weights[i] / 4;
      } else {
        EXPECT_NEAR(weights[i], mean[i], 1e-6);
      }
    }
  }
}

/// The other layer looks elsewhere.
TEST(Transformer, AlignmentsAreThoseOfTheLayerAsked) {
  const Pairs pairs = random_pairs(3, 11);
  TransformerConfig config = small();
  const std::vector<float> last = first_alignments(Transformer(random_model(config)), pairs);
  config.alignment_layer = 1;
  EXPECT_EQ(first_alignments(Transformer(random_model(config)), pairs), last);
  config.alignment_layer = 0;
  EXPECT_NE(first_alignments(Transformer(random_model(config)), pairs), last);
}

/// Sentences longer than the stored part of the tables.
TEST(Transformer, PositionsGoOnBehindTheirTables) {
  for (const Positions kind : {Positions::sinusoidal, Positions::sinusoidal_marian,
                               Positions::sinusoidal_interleaved, Positions::rotary}) {
    TransformerConfig config = small();
    config.positions = kind;
    const Transformer model(random_model(config));
    Pairs pairs;
    pairs.sources = {std::vector<int32_t>(700, 5)};
    pairs.targets = {std::vector<int32_t>(600, 6)};
    const Hidden steps = by_steps(model, pairs, {0});
    EXPECT_LT(difference(forward(model, pairs), steps), 1e-4f);
    // Equal tokens all along: only their positions tell the rows apart.
    const int64_t width = config.width;
    EXPECT_NE(std::vector<float>(steps[0].end() - width, steps[0].end()),
              std::vector<float>(steps[0].end() - 2 * width, steps[0].end() - width));
  }
}

}  // namespace
}  // namespace heddle::model
