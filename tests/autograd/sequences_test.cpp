// Operations over tokens and sentences against their twins, and the tape itself.
#include "heddle/mask/builders.h"
#include "heddle/ops/dropout.h"
#include "tests/autograd/gradient_check.h"

namespace heddle::autograd {
namespace {

using namespace cases;

TEST(Ssru, Gradients) {
  constexpr int64_t kWidth = 18;
  const std::vector<int32_t> offsets{0, 1, 1, 5, 13};
  for (const std::string& name : instruction_sets()) {
    const Numbers gates = random_numbers(13 * 2 * kWidth, 1, 1);
    Room room(name);
    const ops::Rows in = rows_of(room.tape, gates, 13);
    ops::Rows y = room.tape.rows(13, kWidth);
    ssru_scan(room.tape, in, offsets, y);
    const Twin twin = [&](const std::vector<Numbers>& inputs) {
      Numbers out(13 * kWidth);
      for (size_t s = 0; s + 1 < offsets.size(); ++s) {
        Numbers cell(kWidth, 0.0);
        for (int32_t r = offsets[s]; r < offsets[s + 1]; ++r) {
          for (size_t i = 0; i < kWidth; ++i) {
            const size_t at = static_cast<size_t>(r) * 2 * kWidth + i;
            const double f = 1 / (1 + std::exp(-inputs[0][at + kWidth]));
            cell[i] = f * cell[i] + (1 - f) * inputs[0][at];
            out[static_cast<size_t>(r) * kWidth + i] = std::max(cell[i], 0.0);
          }
        }
      }
      return out;
    };
    expect_close(values_of(y), twin({gates}), 1e-6, name);
    // No gradient where a cell is next to the kink of its ReLU.
    Numbers d_y = random_numbers(13 * kWidth, 1, 2);
    const std::vector<float> found = values_of(y);
    const Numbers shifted = twin({[&] {
      Numbers more = gates;
      for (size_t i = 0; i < more.size(); ++i) more[i] += i / kWidth % 2 == 0 ? 0.02 : 0;
      return more;
    }()});
    for (size_t i = 0; i < d_y.size(); ++i) {
      if ((found[i] > 0) != (shifted[i] > 0) || (found[i] > 0 && found[i] < 0.02f)) d_y[i] = 0;
    }
    go_back(room.tape, y, d_y);
    expect_slopes(twin, {gates}, d_y, {gradient_of(room.tape, in)}, 5e-6, name);
  }
}

TEST(Embedding, Gradients) {
  constexpr int64_t kWidth = 10, kTokens = 7, kPositions = 5;
  const std::vector<int32_t> tokens{3, -1, 3, 0, 6, 3}, positions{0, 1, 2, 0, 1, 4};
  for (const std::string& name : instruction_sets()) {
    const std::vector<Numbers> inputs{random_numbers(kTokens * kWidth, 1, 1),
                                      random_numbers(kPositions * kWidth, 1, 2)};
    Room room(name);
    const std::vector<float> learned = floats(inputs[1]);
    const ops::Matrix table({tensor_of(floats(inputs[0]), {kTokens, kWidth})}, ops::Precision::f32,
                            name);
    std::vector<float> d_table(kTokens * kWidth), d_positions(kPositions * kWidth);
    ops::Rows y = room.tape.rows(6, kWidth);
    embed(room.tape, tokens,
          {table, 3, {learned.data(), kPositions, positions}, {d_table.data(), d_positions.data()}},
          y);
    const Twin twin = [&](const std::vector<Numbers>& in) {
      Numbers out;
      for (size_t r = 0; r < tokens.size(); ++r) {
        for (size_t i = 0; i < kWidth; ++i) {
          const double value =
              tokens[r] < 0 ? 0 : 3 * in[0][static_cast<size_t>(tokens[r]) * kWidth + i];
          out.push_back(value + in[1][static_cast<size_t>(positions[r]) * kWidth + i]);
        }
      }
      return out;
    };
    expect_close(values_of(y), twin(inputs), 1e-6, name);
    const Numbers d_y = random_numbers(6 * kWidth, 1, 3);
    go_back(room.tape, y, d_y);
    expect_slopes(twin, inputs, d_y, {d_table, d_positions}, 1e-5, name);
  }
}

TEST(Drop, GradientIsDropoutOfTheGradient) {
  const ops::Dropout dropout{.probability = 0.4, .seed = 3, .step = 5, .first_row = 9, .site = 2};
  for (const std::string& name : instruction_sets()) {
    const Numbers x = random_numbers(5 * 21, 1, 1);
    Room room(name);
    const ops::Rows in = rows_of(room.tape, x, 5);
    room.tape.record(in, [](Tape&) {});
    ops::Rows y = in;
    drop(room.tape, dropout, y);
    const double scale = 65536.0 / (65536 - 26214);
    const Twin twin = [&](const std::vector<Numbers>& inputs) {
      Numbers out;
      for (int64_t i = 0; i < 5 * 21; ++i) {
        const double value = inputs[0][static_cast<size_t>(i)] * scale;
        out.push_back(ops::keeps(dropout, i / 21, i % 21) ? value : 0);
      }
      return out;
    };
    expect_close(values_of(y), twin({x}), 1e-6, name);
    const Numbers d_y = random_numbers(5 * 21, 1, 2);
    const ops::PlainRows to = room.tape.gradient(y);
    for (size_t i = 0; i < d_y.size(); ++i) to.values[i] = static_cast<float>(d_y[i]);
    room.tape.run_back_to(1);
    expect_slopes(twin, {x}, d_y, {gradient_of(room.tape, in)}, 1e-6, name);
  }
}

struct AttentionCase {
  std::string name;
  ColumnMask mask;
  std::function<bool(int64_t, int64_t)> sees;
  int64_t heads, kv_heads, head_width;
  bool together;  ///< queries, keys and values are columns of one
};

std::vector<AttentionCase> attention_cases() {
  const auto document = [](const std::vector<int64_t>& ends, int64_t at) {
    return std::upper_bound(ends.begin(), ends.end(), at) - ends.begin();
  };
  const std::vector<int64_t> rows{3, 4, 9}, keys{5, 5, 12};
  return {
      {"document", masks::document({3, 1, 5}),
       [=](int64_t q, int64_t k) { return document(rows, q) == document(rows, k); }, 2, 2, 8, true},
      {"document of wide heads", masks::document({3, 1, 5}),
       [=](int64_t q, int64_t k) { return document(rows, q) == document(rows, k); }, 2, 1, 32,
       true},
      {"causal", masks::causal_document({3, 1, 5}),
       [=](int64_t q, int64_t k) { return k <= q && document(rows, q) == document(rows, k); }, 4, 2,
       4, true},
      {"cross, one source empty", masks::cross_document({3, 1, 5}, {5, 0, 7}),
       [=](int64_t q, int64_t k) { return document(rows, q) == document(keys, k); }, 3, 1, 5,
       false}};
}

Numbers attention_twin(const AttentionCase& c, int64_t queries, int64_t keys,
                       const std::vector<Numbers>& in) {
  const int64_t width = c.head_width;
  Numbers out;
  for (int64_t q = 0; q < queries; ++q) {
    for (int64_t h = 0; h < c.heads; ++h) {
      const int64_t g = h / (c.heads / c.kv_heads);
      Numbers sum(static_cast<size_t>(width), 0.0);
      double total = 0;
      for (int64_t k = 0; k < keys; ++k) {
        if (!c.sees(q, k)) continue;
        double score = 0;
        for (int64_t e = 0; e < width; ++e) {
          score += in[0][static_cast<size_t>((q * c.heads + h) * width + e)] *
                   in[1][static_cast<size_t>((k * c.kv_heads + g) * width + e)];
        }
        const double weight = std::exp(score / std::sqrt(static_cast<double>(width)));
        total += weight;
        for (int64_t e = 0; e < width; ++e) {
          sum[static_cast<size_t>(e)] +=
              weight * in[2][static_cast<size_t>((k * c.kv_heads + g) * width + e)];
        }
      }
      for (const double value : sum) out.push_back(total > 0 ? value / total : 0);
    }
  }
  return out;
}

/// The values of columns [first, end) of rows.
std::vector<float> columns_of(const float* values, int64_t stride, int64_t count, int64_t first,
                              int64_t end) {
  std::vector<float> out;
  for (int64_t r = 0; r < count; ++r) {
    out.insert(out.end(), values + r * stride + first, values + r * stride + end);
  }
  return out;
}

TEST(Attention, Gradients) {
  for (const AttentionCase& c : attention_cases()) {
    const int64_t queries = c.mask.query_length(), keys = c.mask.key_length();
    const int64_t wide = c.heads * c.head_width, narrow = c.kv_heads * c.head_width;
    const std::vector<Numbers> inputs{random_numbers(queries * wide, 1, 1),
                                      random_numbers(keys * narrow, 1, 2),
                                      random_numbers(keys * narrow, 1, 3)};
    const Twin twin = [&](const std::vector<Numbers>& in) {
      return attention_twin(c, queries, keys, in);
    };
    const Numbers d_y = random_numbers(queries * wide, 1, 4);
    // Attended to once or twice: the second gradient is added to the first.
    for (const int times : {1, 2}) {
      Room room("");
      Tape& tape = room.tape;
      const int64_t width = wide + 2 * narrow;
      ops::Rows all = tape.rows(queries, c.together ? width : wide);
      ops::Rows sources = c.together ? all : tape.rows(keys, 2 * narrow);
      const int64_t first = c.together ? wide : 0;
      const ops::Rows q = all.columns(0, wide, room.values),
                      k = sources.columns(first, first + narrow, room.values),
                      v = sources.columns(first + narrow, first + 2 * narrow, room.values);
      const auto fill = [](ops::Rows rows, const Numbers& values) {
        for (int64_t r = 0; r < rows.count(); ++r) {
          for (int64_t i = 0; i < rows.width(); ++i) {
            rows.row(r)[i] = static_cast<float>(values[static_cast<size_t>(r * rows.width() + i)]);
          }
        }
      };
      fill(q, inputs[0]);
      fill(k, inputs[1]);
      fill(v, inputs[2]);
      const MaskPlan plan(c.mask, {64, 64});
      ops::Rows sum = tape.rows(queries, wide);
      attention(tape, {q, k, v, c.heads, c.kv_heads}, {&c.mask, &plan}, sum);
      expect_close(values_of(sum), twin(inputs), 1e-5, c.name);
      Numbers total = d_y;
      if (times == 2) {
        ops::Rows again = tape.rows(queries, wide);
        attention(tape, {q, k, v, c.heads, c.kv_heads}, {&c.mask, nullptr}, again);
        add(tape, again, sum);
        for (double& value : total) value *= 2;
      }
      go_back(tape, sum, d_y);
      const ops::PlainRows of_q = tape.gradient(all), of_k = tape.gradient(sources);
      expect_slopes(
          twin, inputs, total,
          {columns_of(of_q.values, of_q.stride, queries, 0, wide),
           columns_of(of_k.values, of_k.stride, keys, first, first + narrow),
           columns_of(of_k.values, of_k.stride, keys, first + narrow, first + 2 * narrow)},
          3e-5, c.name);
    }
  }
}

TEST(Tape, AddsUpWhatIsReadTwice) {
  Room room("");
  Tape& tape = room.tape;
  const ops::Rows x = rows_of(tape, {1, 2, 3}, 1), other = rows_of(tape, {5, 5, 5}, 1);
  ops::Rows y = x;
  tape.record(x, [](Tape&) {});
  add(tape, other, y);  // x + other, in rows of its own
  add(tape, x, y);      // 2x + other
  ops::Rows unused = tape.rows(1, 3);
  activate(tape, y, ops::Activation::tanh, unused);  // nothing depends on it
  EXPECT_EQ(values_of(x), (std::vector<float>{1, 2, 3}));
  EXPECT_EQ(values_of(y), (std::vector<float>{7, 9, 11}));
  tape.gradient(y).values[1] = 10;
  tape.run_back_to(1);
  EXPECT_EQ(tape.size(), 1u);
  EXPECT_EQ(gradient_of(tape, x), (std::vector<float>{0, 20, 0}));
  EXPECT_EQ(gradient_of(tape, other), (std::vector<float>{0, 10, 0}));
  EXPECT_FALSE(tape.has_gradient(unused));
}

TEST(Tape, GivesMemoryBackWithItsEnd) {
  ops::Workspace values, gradients;
  size_t held = 0;
  for (int step = 0; step < 4; ++step) {
    Tape tape(values, gradients);
    ops::Rows x = tape.rows(100, 100);
    for (int i = 0; i < 50; ++i) activate(tape, x, ops::Activation::tanh, x);
    tape.gradient(x);
    tape.run_back_to(0);
    if (step == 2) held = values.bytes() + gradients.bytes();
    if (step == 3) {
      EXPECT_EQ(values.bytes() + gradients.bytes(), held);
    }
  }
  // Gradients go round: two are there at a time.
  EXPECT_LT(gradients.bytes(), size_t{4} << 20);
}

}  // namespace
}  // namespace heddle::autograd
