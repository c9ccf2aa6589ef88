// Marian models: the options inside them, and their weights under canonical names.
#pragma once

#include <string>
#include <vector>

#include "heddle/io/marian_binary.h"
#include "heddle/io/value.h"
#include "heddle/model/parameters.h"

namespace heddle::model {

/// The tensors of a Marian model, whatever file they lie in.
class MarianFile {
 public:
  virtual ~MarianFile() = default;
  virtual const std::string& name() const = 0;
  virtual const std::vector<io::MarianTensor>& tensors() const = 0;
  virtual Tensor read(const io::MarianTensor& tensor) const = 0;
};

/// The config that `special:model.yml` describes; refuses by name what is not a Transformer that
/// this engine computes. Vocabulary sizes are those of the options (0: not given).
TransformerConfig read_marian_options(const io::Field& options);

/// Config and weights.
ModelFiles load_marian_tensors(const MarianFile& file);

/// Of a .bin or .npz file, without vocabularies.
ModelFiles load_marian_file(const std::string& path);

/// The options of a model, as read_marian_options takes them; throws for what they cannot say.
std::string marian_options_text(const TransformerConfig& config);

}  // namespace heddle::model
