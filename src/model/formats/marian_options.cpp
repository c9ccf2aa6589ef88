// `special:model.yml`: the options a Marian model was made with.
#include <string>

#include "heddle/base/error.h"
#include "heddle/io/quoted.h"
#include "heddle/model/formats/marian.h"

namespace heddle::model {

namespace {

constexpr int64_t kLarge = int64_t{1} << 30;

ActivationKind read_activation(const io::Field& options) {
  const std::string name = options.text_or("transformer-ffn-activation", "swish");
  if (name == "relu") return ActivationKind::relu;
  if (name == "swish") return ActivationKind::silu;
  // Marian's gelu is x·sigmoid(1.702 x).
  if (name == "gelu") return ActivationKind::quick_gelu;
  options["transformer-ffn-activation"].fail("relu, swish or gelu");
}

DecoderKind read_decoder(const io::Field& options) {
  const std::string kind = options.text_or("transformer-decoder-autoreg", "self-attention");
  if (kind == "self-attention") return DecoderKind::self_attention;
  if (kind != "rnn") {
    options["transformer-decoder-autoreg"].fail("self-attention, or rnn with dec-cell ssru");
  }
  const std::string cell = options.text_or("dec-cell", "gru");
  if (cell != "ssru") options["dec-cell"].fail("ssru, the only recurrent decoder that is read");
  return DecoderKind::ssru;
}

Ties read_ties(const io::Field& options) {
  const bool all = options.boolean_or("tied-embeddings-all", false);
  const bool sources = options.boolean_or("tied-embeddings-src", false);
  const bool outputs = options.boolean_or("tied-embeddings", false);
  if (all || (sources && outputs)) return Ties::all;
  if (sources) return Ties::source_target;
  return outputs ? Ties::target_output : Ties::none;
}

/// Options that change what a model computes in ways this engine does not have.
void refuse_others(const io::Field& options, DecoderKind decoder) {
  const std::string type = options["type"].text();
  if (type != "transformer") options["type"].fail("transformer. Other architectures are not read");
  for (const char* flag :
       {"transformer-no-projection", "right-left", "ulr", "transformer-rnn-projection"}) {
    if (options.boolean_or(flag, false)) options[flag].fail("false");
  }
  if (decoder == DecoderKind::ssru && options.boolean_or("layer-normalization", false)) {
    options["layer-normalization"].fail("false with an SSRU decoder");
  }
  if (options.integer_or("lemma-dim-emb", 0, -kLarge, kLarge) != 0) {
    options["lemma-dim-emb"].fail("0: factored vocabularies are not read");
  }
  const auto tied = options.find("transformer-tied-layers");
  if (tied && !tied->items().empty()) tied->fail("an empty list: tied layers are not read");
  const auto inputs = options.find("input-types");
  for (const io::Field& input : inputs ? inputs->items() : std::vector<io::Field>{}) {
    if (input.text() != "sequence") input.fail("sequence");
  }
}

int read_alignment_layer(const io::Field& options, int64_t layers) {
  const auto layer = options.find("transformer-guided-alignment-layer");
  if (!layer || layer->value() == io::Value("last")) return -1;
  return static_cast<int>(layer->integer(1, layers)) - 1;
}

void read_vocabularies(const io::Field& options, TransformerConfig& config) {
  const auto sizes = options.find("dim-vocabs");
  if (!sizes) return;
  const std::vector<io::Field> items = sizes->items();
  if (items.size() != 2) sizes->fail("a list of two sizes: one source, one target");
  config.source_vocabulary = items[0].integer(0, kLarge);
  config.target_vocabulary = items[1].integer(0, kLarge);
}

void read_stacks(const io::Field& options, TransformerConfig& config) {
  config.encoder.layers = options["enc-depth"].integer(1, 1024);
  config.decoder.layers = options["dec-depth"].integer(1, 1024);
  config.encoder.heads = options["transformer-heads"].integer(1, kLarge);
  config.decoder.heads = config.encoder.heads;
  config.encoder.ffn_width = options["transformer-dim-ffn"].integer(1, kLarge);
  const int64_t decoder_ffn = options.integer_or("transformer-decoder-dim-ffn", 0, 0, kLarge);
  config.decoder.ffn_width = decoder_ffn != 0 ? decoder_ffn : config.encoder.ffn_width;
  for (const char* depth : {"transformer-ffn-depth", "transformer-decoder-ffn-depth"}) {
    const int64_t found = options.integer_or(depth, 2, 0, kLarge);
    if (found != 2 && found != 0) options[depth].fail("2, the only depth that is read");
  }
}

}  // namespace

TransformerConfig read_marian_options(const io::Field& options) {
  TransformerConfig config;
  config.decoder_kind = read_decoder(options);
  refuse_others(options, config.decoder_kind);
  config.width = options["dim-emb"].integer(1, kLarge);
  read_stacks(options, config);
  read_vocabularies(options, config);

  config.preprocess = options.text_or("transformer-preprocess", "");
  config.postprocess = options.text_or("transformer-postprocess", "dan");
  config.postprocess_embedding = options.text_or("transformer-postprocess-emb", "d");
  config.postprocess_top = options.text_or("transformer-postprocess-top", "");
  config.norm_epsilon = 1e-6;
  config.activation = read_activation(options);
  config.output_bias = !options.boolean_or("output-omit-bias", false);

  config.ties = read_ties(options);
  const bool learned = options.boolean_or("transformer-train-position-embeddings", false) ||
                       options.boolean_or("transformer-train-positions", false);
  config.positions = learned ? Positions::learned : Positions::sinusoidal_marian;
  config.scale_embedding = !learned;
  config.eos = 0;
  config.unk = 1;
  config.pad = -1;
  config.decoder_start = -1;
  config.alignment_layer = read_alignment_layer(options, config.decoder.layers);
  return config;
}

}  // namespace heddle::model
