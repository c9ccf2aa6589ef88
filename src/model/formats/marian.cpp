#include "heddle/model/formats/marian.h"

#include <cmath>
#include <cstring>
#include <map>
#include <optional>
#include <set>

#include "heddle/base/error.h"
#include "heddle/io/byte_reader.h"
#include "heddle/io/npz.h"
#include "heddle/io/quoted.h"
#include "heddle/io/yaml.h"
#include "heddle/model/formats/convert.h"
#include "heddle/model/formats/marian_names.h"

namespace heddle::model {

namespace {

constexpr std::string_view kInputSuffix = "_QuantMultA";

class Loader {
 public:
  explicit Loader(const MarianFile& file) : file_(file) {
    for (const io::MarianTensor& tensor : file.tensors()) by_name_.emplace(tensor.name, &tensor);
  }

  ModelFiles load() {
    ModelFiles model;
    const io::Value options = io::parse_yaml(options_text(), place(io::kMarianOptions));
    const io::Field fields(options, str("marian: ", place(io::kMarianOptions)));
    model.config = read_marian_options(fields);
    check_vocabularies(fields, model.config);
    for (const MarianName& name : marian_names(model.config)) {
      model.parameters.add(name.canonical, parameter(name, model.config));
    }
    for (const auto& [name, tensor] : by_name_) {
      const bool known =
          used_.contains(name) || name.ends_with(kInputSuffix) || name.starts_with("special:");
      HEDDLE_CHECK(known, "marian: ", file_.name(), ": found the tensor ", io::quoted(name),
                   "; expected none of that name by the options inside the file");
    }
    if (model.config.positions == Positions::learned) {
      model.config.max_positions =
          model.parameters.find("model.encoder.embed_positions.weight")->values.dim(0);
    }
    return model;
  }

 private:
  std::string place(std::string_view name) const { return str(file_.name(), ": ", name); }

  const io::MarianTensor* find(std::string_view name) const {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? nullptr : found->second;
  }

  const io::MarianTensor& require(std::string_view name) const {
    const io::MarianTensor* tensor = find(name);
    HEDDLE_CHECK(tensor != nullptr, "marian: ", file_.name(), ": found no tensor ",
                 io::quoted(name), "; expected one");
    return *tensor;
  }

  [[noreturn]] void fail(const io::MarianTensor& tensor, std::string_view expected) const {
    detail::throw_error(str("marian: ", file_.name(), ": ", io::quoted(tensor.name), ": found ",
                            tensor.type, " ", tensor.shape.text(), "; expected ", expected));
  }

  std::string options_text() const {
    const io::MarianTensor& tensor = require(io::kMarianOptions);
    if (tensor.dtype != DType::i8 || tensor.is_intgemm8 || tensor.bytes > io::kLongestYaml) {
      fail(tensor, str("at most ", io::kLongestYaml, " bytes of text (int8)"));
    }
    const Tensor content = file_.read(tensor);
    std::string text(static_cast<const char*>(content.raw()), static_cast<size_t>(tensor.bytes));
    const size_t end = text.find('\0');
    HEDDLE_CHECK(end != text.npos && text.find_first_not_of('\0', end) == text.npos,
                 "marian: ", place(io::kMarianOptions), ": found ",
                 end == text.npos ? "no NUL at its end" : "text behind its NUL",
                 "; expected text that ends in NUL");
    text.resize(end);
    return text;
  }

  /// Sizes come from the tables; where the options give them too, they must agree.
  void check_vocabularies(const io::Field& options, TransformerConfig& config) const {
    const bool shared = config.ties == Ties::all || config.ties == Ties::source_target;
    const io::MarianTensor& source = require(shared ? "Wemb" : "encoder_Wemb");
    const io::MarianTensor& target = require(shared ? "Wemb" : "decoder_Wemb");
    for (const io::MarianTensor* table : {&source, &target}) {
      if (table->shape.rank() != 2 || table->shape[1] != config.width || table->shape[0] < 2) {
        fail(*table, str("[V, ", config.width, "]"));
      }
    }
    const auto check = [&](int64_t& size, const io::MarianTensor& table) {
      if (size != 0 && size != table.shape[0]) {
        options["dim-vocabs"].fail(
            str(table.shape[0], " as ", io::quoted(table.name), " has rows; the list says ", size));
      }
      size = table.shape[0];
    };
    check(config.source_vocabulary, source);
    check(config.target_vocabulary, target);
  }

  Parameter parameter(const MarianName& name, const TransformerConfig& config) {
    const io::MarianTensor& tensor = require(name.marian);
    used_.insert(tensor.name);
    if (name.kind == MarianKind::vector) return vector(tensor);
    if (tensor.shape.rank() != 2) fail(tensor, "a matrix");
    if (tensor.dtype == DType::i8) return quantised(tensor, name, config);
    Tensor values = file_.read(tensor);
    if (name.kind == MarianKind::matrix) values = transposed(values);
    return {values};
  }

  Parameter vector(const io::MarianTensor& tensor) const {
    const int rank = tensor.shape.rank();
    const bool row = rank == 1 || (rank == 2 && tensor.shape[0] == 1);
    if (!row || tensor.dtype == DType::i8) fail(tensor, "a float row [1, N]");
    const Tensor values = file_.read(tensor);
    return {values.reshape({values.elements()})};
  }

  Parameter quantised(const io::MarianTensor& tensor, const MarianName& name,
                      const TransformerConfig& config) {
    if (!tensor.is_intgemm8) fail(tensor, "float32, float16 or intgemm8, which has a multiplier");
    Tensor values = file_.read(tensor);
    // The elements of an intgemm8 matrix lie as [out, in], whatever its shape says.
    if (name.kind == MarianKind::matrix) {
      values = values.reshape({tensor.shape[1], tensor.shape[0]});
    }
    Tensor scales = Tensor::empty({1}, DType::f32);
    *scales.data<float>() = 1.0f / tensor.multiplier;
    return {values, scales, input_scale(tensor, name, config)};
  }

  /// The fixed step of a matrix's quantised inputs, or 0. An embedding has one when it is also the
  /// output matrix, under a name that history left behind.
  float input_scale(const io::MarianTensor& tensor, const MarianName& name,
                    const TransformerConfig& config) const {
    const io::MarianTensor* input = nullptr;
    if (name.kind == MarianKind::matrix) {
      input = find(str(tensor.name, kInputSuffix));
    } else if (is_output(name, config)) {
      input = find("none_QuantMultA");
      if (input == nullptr) input = find(str(tensor.name, kInputSuffix));
    }
    if (input == nullptr) return 0;
    const float multiplier = scalar(*input);
    HEDDLE_CHECK(std::isfinite(multiplier) && multiplier > 0, "marian: ", place(input->name),
                 ": found ", multiplier, "; expected a finite number above 0");
    return 1.0f / multiplier;
  }

  static bool is_output(const MarianName& name, const TransformerConfig& config) {
    if (config.ties == Ties::all) return name.canonical == "model.shared.weight";
    return config.ties == Ties::target_output &&
           name.canonical == "model.decoder.embed_tokens.weight";
  }

  /// A single number, float32 or itself intgemm8.
  float scalar(const io::MarianTensor& tensor) const {
    const bool floats = tensor.dtype == DType::f32;
    if (tensor.shape.elements() != 1 || (!floats && !tensor.is_intgemm8)) {
      fail(tensor, "one float32 or intgemm8 number");
    }
    const Tensor value = file_.read(tensor);
    return floats ? *value.data<float>()
                  : static_cast<float>(*value.data<int8_t>()) / tensor.multiplier;
  }

  const MarianFile& file_;
  std::map<std::string_view, const io::MarianTensor*> by_name_;
  std::set<std::string_view> used_;
};

class BinaryFile : public MarianFile {
 public:
  explicit BinaryFile(io::Source source) : file_(std::move(source)) {}
  const std::string& name() const override { return file_.source().name(); }
  const std::vector<io::MarianTensor>& tensors() const override { return file_.tensors(); }
  Tensor read(const io::MarianTensor& tensor) const override { return file_.read(tensor); }

 private:
  io::MarianBinary file_;
};

class ArchiveFile : public MarianFile {
 public:
  explicit ArchiveFile(io::Source source) : file_(std::move(source)) {
    for (const io::NpzMember& member : file_.members()) tensors_.push_back({member});
  }
  const std::string& name() const override { return file_.source().name(); }
  const std::vector<io::MarianTensor>& tensors() const override { return tensors_; }
  Tensor read(const io::MarianTensor& tensor) const override {
    return file_.read(file_.members()[static_cast<size_t>(&tensor - tensors_.data())]);
  }

 private:
  io::NpzFile file_;
  std::vector<io::MarianTensor> tensors_;  // in the order of the members
};

}  // namespace

ModelFiles load_marian_tensors(const MarianFile& file) { return Loader(file).load(); }

ModelFiles load_marian_file(const std::string& path) {
  io::Source source(path);
  if (io::NpzFile::recognises(source)) return load_marian_tensors(ArchiveFile(std::move(source)));
  return load_marian_tensors(BinaryFile(std::move(source)));
}

}  // namespace heddle::model
