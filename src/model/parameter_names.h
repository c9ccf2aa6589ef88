// What the parameters of a sublayer are called: MarianMT's names for encoder–decoders, Llama's for
// language models (parameters.h lists both).
#pragma once

#include <cstdint>
#include <string>

#include "heddle/model/config.h"

namespace heddle::model {

/// The norms around a sublayer; empty where there is none.
struct NormNames {
  std::string before, after;
};

/// Stems of its projections: ".weight" and ".bias" follow.
struct AttentionNames {
  std::string queries, keys, values, out;
  std::string query_norm, key_norm;  ///< of heads; empty without them
  NormNames norms;
};

struct FeedForwardNames {
  std::string gate, in, out;  ///< no gate: empty
  NormNames norms;
};

enum class Side : uint8_t { encoder, decoder };

class ParameterNames {
 public:
  explicit ParameterNames(const TransformerConfig& config) : config_(config) {}

  std::string table(Side side) const;  ///< the embedding [V, D]
  std::string output() const;  ///< the output projection, perhaps an embedding; of a reward model
                               ///< that to the score
  std::string stack(Side side) const;
  std::string layer(Side side, int64_t number) const;
  std::string top_norm(Side side) const;

  // `layer` is what layer() returns.
  AttentionNames self_attention(const std::string& layer) const;
  AttentionNames cross_attention(const std::string& layer) const;
  NormNames ssru_norms(const std::string& layer) const;
  FeedForwardNames feed_forward(const std::string& layer) const;

 private:
  NormNames around(const std::string& norm) const;
  AttentionNames attention(const std::string& name) const;

  const TransformerConfig& config_;
};

}  // namespace heddle::model
