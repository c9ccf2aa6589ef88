// Bad parameters and bad input are refused by name.
#include <gtest/gtest.h>

#include "heddle/base/error.h"
#include "tests/model/random_model.h"

namespace heddle::model {
namespace {

TransformerConfig tiny_config() {
  TransformerConfig config;
  config.width = 48;
  config.source_vocabulary = config.target_vocabulary = 61;
  config.encoder = {.layers = 2, .heads = 4, .key_value_heads = 0, .ffn_width = 96};
  config.decoder = {.layers = 2, .heads = 4, .key_value_heads = 0, .ffn_width = 80};
  return config;
}

template <typename F>
void expect_error(const F& f, std::string_view part) {
  try {
    f();
    FAIL() << "expected an error with: " << part;
  } catch (const Error& error) {
    EXPECT_NE(std::string_view(error.what()).find(part), std::string_view::npos) << error.what();
  }
}

TEST(Transformer, RefusesBadParameters) {
  const ModelFiles good = random_model(tiny_config());
  const auto with = [&](auto&& change) {
    ModelFiles files = good;
    change(files);
    return [files] { Transformer model(files); };
  };
  const std::string name = "model.decoder.layers.1.fc1.weight";
  expect_error(with([&](ModelFiles& f) { f.parameters.remove(name); }), name + " is missing");
  expect_error(with([&](ModelFiles& f) {
                 f.parameters.find(name)->values = draw(name, {80, 47});
               }),
               "is [80, 47]; expected [80, 48]");
  expect_error(with([&](ModelFiles& f) {
                 f.parameters.find(name)->values = Tensor::zeros({80, 48}, DType::i32);
               }),
               "is i32; expected f32, f16, bf16 or i8");
  expect_error(with([&](ModelFiles& f) {
                 f.parameters.find(name)->values = Tensor::zeros({80, 48}, DType::i8);
               }),
               "scales missing");
  expect_error(with([&](ModelFiles& f) {
                 Parameter& p = *f.parameters.find(name);
                 p.values = Tensor::zeros({80, 48}, DType::i8);
                 p.scales = draw("norm.weight", {80});
                 p.scales.data<float>()[7] = std::nanf("");
               }),
               "scale 7 of");
  expect_error(with([&](ModelFiles& f) {
                 f.parameters.add("model.extra", {draw("x", {3}), {}, 0});
               }),
               "model.extra [3] has no place");
  expect_error(with([&](ModelFiles& f) { f.config.encoder.heads = 7; }), "expected a multiple");
}

TEST(Transformer, RefusesBadInput) {
  TransformerConfig config = tiny_config();
  config.max_positions = 6;
  const Transformer model(random_model(config));
  DecoderState state(model, {.rows = 2, .source_tokens = 20, .target_tokens = 20});
  ops::Workspace workspace;
  const std::vector<int> slot{*state.admit(3, 8)};
  using Tokens = std::vector<int32_t>;
  const auto encode = [&](const Tokens& tokens, const Tokens& offsets) {
    return [&model, &state, &workspace, slot, tokens, offsets] {
      model.encode(tokens, offsets, state, slot, workspace);
    };
  };
  expect_error(encode({1, 2}, {0, 2}), "was admitted with 3 source tokens; found 2");
  expect_error(encode({1, 2, 3}, {0, 2}), "expected 0, rising to 3");
  expect_error(encode({1, 2, 3}, {0, 1, 3}), "2 sources for 1 slots");
  expect_error(encode({1, 2, 61}, {0, 3}), "61");
  expect_error(encode({1, 2, 3, 4, 5, 6, 7}, {0, 7}), "max_position_embeddings");
  encode({1, 2, 3}, {0, 3})();
  ops::Rows out(1, config.width, workspace);
  for (int i = 0; i < 6; ++i) model.decode_step(state, slot, Tokens{-1}, out, workspace);
  expect_error([&] { model.decode_step(state, slot, Tokens{-1}, out, workspace); },
               "max_position_embeddings");
}

}  // namespace
}  // namespace heddle::model
