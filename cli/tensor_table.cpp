#include "cli/tensor_table.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "cli/format.h"
#include "heddle/base/error.h"
#include "heddle/io/ctranslate2.h"
#include "heddle/io/marian_binary.h"
#include "heddle/io/npz.h"
#include "heddle/io/safetensors.h"

namespace heddle::cli {

namespace {

/// Rows of a reader that lists `entries` and can read each of them.
template <typename File, typename Entries>
void add_rows(std::vector<TensorRow>& rows, const std::shared_ptr<File>& file,
              const Entries& entries) {
  for (const auto& entry : entries) {
    rows.push_back({entry.name, std::string(entry.type), entry.shape.text(), entry.bytes,
                    entry.shape.elements(), [file, &entry] { return file->read(entry); }});
  }
}

template <typename T>
int64_t count_in(const Tensor& tensor) {
  const T* data = tensor.data<T>();
  return std::count_if(data, data + tensor.elements(), [](T value) {
    return !std::isfinite(static_cast<double>(static_cast<float>(value)));
  });
}

}  // namespace

std::vector<TensorRow> rows_of_file(const std::string& path) {
  std::vector<TensorRow> rows;
  io::Source source(path);
  if (io::NpzFile::recognises(source)) {
    const auto file = std::make_shared<io::NpzFile>(std::move(source));
    add_rows(rows, file, file->members());
  } else if (io::MarianBinary::recognises(source)) {
    const auto file = std::make_shared<io::MarianBinary>(std::move(source));
    add_rows(rows, file, file->tensors());
  } else if (io::Ctranslate2File::recognises(source)) {
    const auto file = std::make_shared<io::Ctranslate2File>(std::move(source));
    add_rows(rows, file, file->variables());
  } else {
    const auto model = std::make_shared<io::SafetensorsModel>(path);
    for (const io::SafetensorsFile& file : model->files()) {
      add_rows(rows, std::shared_ptr<const io::SafetensorsFile>(model, &file), file.tensors());
    }
  }
  return rows;
}

std::vector<TensorRow> rows_of_gguf(const std::shared_ptr<const io::GgufModel>& model) {
  std::vector<TensorRow> rows;
  for (const io::GgufFile& file : model->files()) {
    add_rows(rows, std::shared_ptr<const io::GgufFile>(model, &file), file.tensors());
  }
  return rows;
}

std::vector<TensorRow> rows_of_model(const model::ModelFiles& model) {
  std::vector<TensorRow> rows;
  for (const auto& [name, parameter] : model.parameters) {
    const Tensor values = parameter.values;
    TensorRow row{name,
                  std::string(heddle::name_of(values.dtype())),
                  values.shape().text(),
                  static_cast<uint64_t>(values.elements()) * size_of(values.dtype()),
                  values.elements(),
                  [values] { return values; }};
    if (parameter.scales.defined()) {
      row.type += parameter.scales.elements() == 1 ? ", one scale" : ", a scale a row";
      row.bytes += static_cast<uint64_t>(parameter.scales.elements()) * sizeof(float);
    }
    if (parameter.input_scale != 0) row.type += str(", inputs in steps of ", parameter.input_scale);
    rows.push_back(std::move(row));
  }
  return rows;
}

int64_t count_not_finite(const Tensor& tensor) {
  switch (tensor.dtype()) {
    case DType::f64:
      return count_in<double>(tensor);
    case DType::f32:
      return count_in<float>(tensor);
    case DType::f16:
      return count_in<Float16>(tensor);
    case DType::bf16:
      return count_in<BFloat16>(tensor);
    default:
      return 0;
  }
}

std::string table_of(const std::vector<TensorRow>& rows) {
  size_t name = 4, type = 4, shape = 5;
  uint64_t bytes = 0;
  int64_t elements = 0;
  for (const TensorRow& row : rows) {
    name = std::max(name, row.name.size());
    type = std::max(type, row.type.size());
    shape = std::max(shape, row.shape.size());
    bytes += row.bytes;
    elements += row.elements;
  }
  const auto line = [&](std::string_view a, std::string_view b, std::string_view c,
                        std::string_view d) {
    return str(left_aligned(a, name), "  ", left_aligned(b, type), "  ", left_aligned(c, shape),
               "  ", right_aligned(d, 12), "\n");
  };
  std::string table = line("name", "type", "shape", "bytes");
  for (const TensorRow& row : rows) {
    table += line(row.name, row.type, row.shape, with_separators(static_cast<int64_t>(row.bytes)));
  }
  return table + str(rows.size(), " tensors, ", with_separators(elements), " elements, ",
                     bytes_text(static_cast<double>(bytes)), "\n");
}

std::string json_of(const std::vector<TensorRow>& rows) {
  std::string text = "[";
  for (const TensorRow& row : rows) {
    text += str(text.size() > 1 ? ",\n  " : "\n  ", "{\"name\": ", json_string(row.name),
                ", \"type\": ", json_string(row.type), ", \"shape\": ", row.shape,
                ", \"bytes\": ", row.bytes, "}");
  }
  return text + "\n ]";
}

}  // namespace heddle::cli
