// The tensors of a file or a model, as `heddle inspect` lists them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "heddle/io/gguf.h"
#include "heddle/model/parameters.h"

namespace heddle::cli {

struct TensorRow {
  std::string name;
  std::string type;
  std::string shape;
  uint64_t bytes = 0;
  int64_t elements = 0;
  std::function<Tensor()> read;  ///< the elements; empty where no arithmetic has the type
};

/// Of a tensor file by itself: safetensors, .npz, Marian .bin, CTranslate2 model.bin. Throws for
/// others.
std::vector<TensorRow> rows_of_file(const std::string& path);

/// Of all parts of a GGUF model; the elements are read as floats.
std::vector<TensorRow> rows_of_gguf(const std::shared_ptr<const io::GgufModel>& model);

/// Of a model under canonical names, scales counted with their matrix.
std::vector<TensorRow> rows_of_model(const model::ModelFiles& model);

/// NaN and infinite elements of a tensor; 0 for integers.
int64_t count_not_finite(const Tensor& tensor);

std::string table_of(const std::vector<TensorRow>& rows);
std::string json_of(const std::vector<TensorRow>& rows);

}  // namespace heddle::cli
