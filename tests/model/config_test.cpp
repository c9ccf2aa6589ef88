// config.json: what is read from Hugging Face's files, and what is refused.
#include <gtest/gtest.h>

#include "heddle/base/error.h"
#include "heddle/io/json.h"
#include "heddle/model/config.h"
#include "heddle/model/parameters.h"

namespace heddle::model {
namespace {

TransformerConfig parse(std::string_view text) {
  const io::Value value = io::parse_json(text, "config.json");
  return read_config(io::Field(value, "config.json"));
}

/// The fields of an OPUS-MT model as transformers writes them, some left out.
constexpr std::string_view kOpus = R"({
  "activation_dropout": 0.0, "activation_function": "swish", "add_bias_logits": false,
  "add_final_layer_norm": false, "architectures": ["MarianMTModel"], "bos_token_id": 0,
  "classifier_dropout": 0.0, "d_model": 512, "decoder_attention_heads": 8, "decoder_ffn_dim": 2048,
  "decoder_layers": 6, "decoder_start_token_id": 58100, "decoder_vocab_size": 58101,
  "encoder_attention_heads": 8, "encoder_ffn_dim": 2048, "encoder_layers": 6, "eos_token_id": 0,
  "max_length": 512, "max_position_embeddings": 512, "model_type": "marian",
  "normalize_before": false, "normalize_embedding": false, "num_beams": 6, "pad_token_id": 58100,
  "scale_embedding": true, "share_encoder_decoder_embeddings": true,
  "static_position_embeddings": true, "use_cache": true, "vocab_size": 58101})";

TEST(Config, ReadsHuggingFacesMarian) {
  const TransformerConfig config = parse(kOpus);
  EXPECT_EQ(config.width, 512);
  EXPECT_EQ(config.encoder, (StackConfig{.layers = 6, .heads = 8, .ffn_width = 2048}));
  EXPECT_EQ(config.source_vocabulary, 58101);
  EXPECT_EQ(config.postprocess, "dan");
  EXPECT_TRUE(config.preprocess.empty());
  EXPECT_TRUE(config.scale_embedding);
  EXPECT_EQ(config.activation, ActivationKind::silu);
  EXPECT_EQ(config.positions, Positions::sinusoidal);
  EXPECT_EQ(config.ties, Ties::all);
  EXPECT_EQ(config.decoder_start, 58100);
  EXPECT_EQ(config.max_positions, 512);
  EXPECT_EQ(config.norm_epsilon, 1e-5);
  EXPECT_EQ(to_json(config).find("model_type")->text()[0], "marian");
}

std::string with(std::string_view old_part, std::string_view new_part) {
  std::string text(kOpus);
  const size_t at = text.find(old_part);
  EXPECT_NE(at, std::string::npos) << old_part;
  return text.replace(at, old_part.size(), new_part);
}

TEST(Config, WhatIsNeverWritten) {
  const TransformerConfig config =
      parse(with("\"num_beams\": 6", "\"bad_words_ids\": [[58100], [9], [0], [7, 8], [3], [9]]"));
  EXPECT_EQ(config.never_written, (std::vector<int32_t>{3, 9}));
  const io::Value json = to_json(config);
  EXPECT_EQ(io::to_json(*json.find("bad_words_ids")), "[[58100],[3],[9]]");
  EXPECT_EQ(read_config(io::Field(json, "ours")), config);
  EXPECT_TRUE(parse(with("\"num_beams\": 6", "\"bad_words_ids\": null")).never_written.empty());
  EXPECT_TRUE(parse(kOpus).ends_source);
  EXPECT_FALSE(parse(with("\"num_beams\": 6", "\"source_eos\": false")).ends_source);
  for (const char* bad : {"[3]", "7", "[[\"a\"]]", "[[-1]]", "[[58101]]"}) {
    EXPECT_THROW(parse(with("\"num_beams\": 6", std::string("\"bad_words_ids\": ") + bad)), Error)
        << bad;
  }
}

TEST(Config, UnderstandsTheOlderPlacementFields) {
  const TransformerConfig config =
      parse(with(R"("normalize_before": false, "normalize_embedding": false)",
                 R"("normalize_before": true, "normalize_embedding": true)"));
  EXPECT_EQ(config.preprocess, "n");
  EXPECT_EQ(config.postprocess, "da");
  EXPECT_TRUE(config.normalizes_embedding());
  EXPECT_FALSE(config.normalizes_after());
  EXPECT_EQ(to_json(config).find("model_type")->text()[0], "heddle");
}

TEST(Config, RefusesWhatDoesNotFitTogether) {
  const auto refuses = [](std::string_view old_part, std::string_view new_part,
                          std::string_view message) {
    try {
      parse(with(old_part, new_part));
      ADD_FAILURE() << "took " << new_part;
    } catch (const Error& error) {
      EXPECT_NE(std::string_view(error.what()).find(message), std::string_view::npos)
          << error.what();
    }
  };
  refuses(R"("d_model": 512)", R"("d_model": 500)", "expected a multiple");
  refuses(R"("d_model": 512)", R"("d_model": "512")", "d_model");
  refuses(R"("d_model": 512,)", "", "d_model");
  refuses(R"("d_model": 512)", R"("d_model": 0)", "d_model");
  refuses(R"("encoder_layers": 6)", R"("encoder_layers": -1)", "encoder_layers");
  refuses(R"("model_type": "marian")", R"("model_type": "t5")", "marian, heddle, llama");
  refuses(R"("swish")", R"("mish")", "one of relu, gelu");
  refuses(R"("decoder_vocab_size": 58101)", R"("decoder_vocab_size": 58100)", "the same");
  refuses(R"("eos_token_id": 0)", R"("eos_token_id": 58101)", "eos_token_id is 58101");
  refuses(R"("use_cache": true)", R"("postprocess": "dnan")", "each at most once");
  refuses(R"("use_cache": true)", R"("preprocess": "a")", "letters of");
  refuses(R"("use_cache": true)", R"("layer_norm_eps": 0)", "layer_norm_eps");
  refuses(R"("use_cache": true)", R"("encoder_key_value_heads": 3)", "expected a divisor");
  refuses(R"("use_cache": true)", R"("head_dim": 300)", "head_dim");
  refuses(R"("use_cache": true)", R"("alignment_layer": 6)", "alignment_layer");
  refuses(R"("use_cache": true)", R"("position_embedding_type": "rotary", "head_dim": 7)", "even");
}

TEST(Parameters, CountsThoseOfTheFirefoxStudent) {
  TransformerConfig config;
  config.width = 256;
  config.source_vocabulary = config.target_vocabulary = 32000;
  config.encoder = {.layers = 6, .heads = 8, .key_value_heads = 0, .ffn_width = 1536};
  config.decoder = {.layers = 2, .heads = 8, .key_value_heads = 0, .ffn_width = 1536};
  config.decoder_kind = DecoderKind::ssru;
  int64_t numbers = 0;
  for (const ParameterShape& each : parameters_of(config)) numbers += each.shape.elements();
  EXPECT_EQ(numbers, 16907008);  // counted in its file
}

TEST(Parameters, TakeEachNameOnce) {
  Parameters parameters;
  parameters.add("a", {.values = Tensor::zeros({2}, DType::f32)});
  EXPECT_THROW(parameters.add("a", {.values = Tensor::zeros({2}, DType::f32)}), Error);
  EXPECT_THROW(parameters.require("b", {2}), Error);
  EXPECT_THROW(parameters.require("a", {3}), Error);
  EXPECT_EQ(&parameters.require("a", {2}), parameters.find("a"));
  parameters.remove("a");
  parameters.remove("a");
  EXPECT_EQ(parameters.size(), 0u);
}

TEST(Parameters, WidenToSinglePrecision) {
  const auto first = [](DType dtype, auto number) {
    Tensor values = Tensor::zeros({2, 1}, dtype);
    values.data<decltype(number)>()[1] = number;
    return to_f32({.values = values, .scales = {}, .input_scale = 0}).data<float>()[1];
  };
  EXPECT_EQ(first(DType::f32, 1.5f), 1.5f);
  EXPECT_EQ(first(DType::f16, Float16(1.5f)), 1.5f);
  EXPECT_EQ(first(DType::bf16, BFloat16(1.5f)), 1.5f);
  Parameter quantised{.values = Tensor::zeros({2, 1}, DType::i8),
                      .scales = Tensor::zeros({2}, DType::f32),
                      .input_scale = 0};
  quantised.values.data<int8_t>()[1] = -3;
  quantised.scales.data<float>()[1] = 0.5f;
  EXPECT_EQ(to_f32(quantised).data<float>()[1], -1.5f);
}

}  // namespace
}  // namespace heddle::model
