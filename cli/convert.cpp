// `heddle convert`: reads a model of any known format and writes it in another.
#include <memory>

#include "cli/commands.h"
#include "cli/format.h"
#include "cli/model_words.h"
#include "heddle/base/error.h"
#include "heddle/base/timer.h"
#include "heddle/io/atomic_file.h"
#include "heddle/io/gguf.h"
#include "heddle/io/paths.h"
#include "heddle/model/formats/formats.h"
#include "heddle/text/tokenizer.h"
#include "heddle/text/tokenizer_gguf.h"

namespace heddle::cli {

namespace {

struct ConvertOptions {
  std::string input, output;
  std::string format = "heddle";
};

std::vector<std::string> pieces_of(const std::string& model, const std::string& numbering,
                                   int64_t rows, const char* side) {
  HEDDLE_CHECK(!model.empty(), "convert: found no SentencePiece model of the ", side,
               "; expected one beside the weights, as CTranslate2 lists the pieces");
  const text::Tokenizer tokenizer = text::load_tokenizer(model, numbering);
  std::vector<std::string> pieces;
  for (int32_t id = 0; id < tokenizer.size(); ++id) pieces.emplace_back(tokenizer.piece(id));
  // Embeddings are often padded with rows that no piece has.
  for (int64_t id = tokenizer.size(); id < rows; ++id) pieces.push_back(str("<unused", id, ">"));
  return pieces;
}

void save_as(const model::ModelFiles& model, const ConvertOptions& options) {
  if (options.format == "heddle") {
    model::save_model(model, options.output);
  } else if (options.format == "marian") {
    model::save_marian(model, options.output);
  } else if (options.format == "ctranslate2") {
    const model::TransformerConfig& config = model.config;
    const model::Pieces pieces{
        pieces_of(model.source_vocabulary, model.source_pieces, config.source_vocabulary, "source"),
        pieces_of(model.target_vocabulary, model.target_pieces, config.target_vocabulary,
                  "target")};
    model::save_ctranslate2(model, options.output, pieces);
  } else {
    detail::throw_error(str("--format: found '", options.format.substr(0, 40),
                            "'; expected heddle, ctranslate2 or marian"));
  }
}

/// What a GGUF file has inside and a directory beside the weights; nothing for other formats.
text::GgufTokenizer tokenizer_inside(const std::string& path, model::Format format) {
  if (format != model::Format::gguf) return {};
  const io::GgufModel model(path);
  const io::GgufFile& first = model.files().front();
  if (first.find_key("tokenizer.ggml.model") == nullptr) return {};
  return text::read_gguf_tokenizer(first);
}

void convert(const ConvertOptions& options) {
  const Timer timer;
  const model::Format format = model::recognise(options.input);
  const std::string_view from = model::name_of(format);
  const model::ModelFiles model = model::load_model(options.input);
  const text::GgufTokenizer tokenizer = tokenizer_inside(options.input, format);
  save_as(model, options);
  if (!tokenizer.json.empty()) {
    io::write_file(io::join_path(options.output, "tokenizer.json"), tokenizer.json);
    io::write_file(io::join_path(options.output, "tokenizer_config.json"), tokenizer.config);
  }
  print(str(options.input, " (", from, ") -> ", options.output, " (", options.format, ")\n",
            architecture_words(model.config), "\n", model_size_words(model), ", ",
            seconds_text(timer.seconds()), "\n"));
}

}  // namespace

void add_convert_command(const Command& parent) {
  const Command command =
      parent.add_command("convert", "read a model of any known format and write it in another");
  const auto options = std::make_shared<ConvertOptions>();
  command.positional("INPUT", options->input,
                     "directory or file: Marian, CTranslate2, Hugging Face, GGUF or heddle");
  command.positional("OUTPUT", options->output, "directory to write to");
  command.option("--format", options->format, "heddle (default), ctranslate2 or marian", "NAME");
  command.footer(
      "Examples:\n"
      "  heddle convert enpt/config.yml enpt-heddle\n"
      "  heddle convert opus-mt-en-de opus-ct2 --format ctranslate2\n"
      "Quantised weights stay as they are; marian gets float32 weights.");
  command.run([options] { convert(*options); });
}

}  // namespace heddle::cli
