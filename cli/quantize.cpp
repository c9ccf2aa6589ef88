// `heddle quantize`: writes a model with matrices of a smaller type.
#include <memory>

#include "cli/commands.h"
#include "cli/format.h"
#include "cli/model_words.h"
#include "heddle/base/error.h"
#include "heddle/base/timer.h"
#include "heddle/model/formats/formats.h"

namespace heddle::cli {

namespace {

struct QuantizeOptions {
  std::string input, output;
  std::string type;
};

DType type_of(const std::string& name) {
  if (name == "int8") return DType::i8;
  if (name == "bf16") return DType::bf16;
  if (name == "f16") return DType::f16;
  detail::throw_error(str("--type: found '", name.substr(0, 40), "'; expected int8, bf16 or f16"));
}

void quantize(const QuantizeOptions& options) {
  const DType type = type_of(options.type);
  const Timer timer;
  const model::ModelFiles model = model::load_model(options.input);
  const model::ModelFiles smaller = model::quantised(model, type);
  model::save_model(smaller, options.output);
  print(str(options.input, ": ", model_size_words(model), "\n", options.output, ": ",
            model_size_words(smaller), ", ", seconds_text(timer.seconds()), "\n"));
}

}  // namespace

void add_quantize_command(const Command& parent) {
  const Command command =
      parent.add_command("quantize", "write a model with matrices in a smaller type");
  const auto options = std::make_shared<QuantizeOptions>();
  command.positional("INPUT", options->input, "directory or file of any known format");
  command.positional("OUTPUT", options->output, "directory to write to");
  command.option("--type", options->type, "int8 (one scale a row), bf16 or f16", "NAME");
  command.footer(
      "Examples:\n"
      "  heddle quantize opus-mt-en-de opus-int8 --type int8\n"
      "  heddle quantize model model-bf16 --type bf16\n"
      "Biases, norms and position tables keep their type, int8 matrices stay int8.");
  command.run([options] { quantize(*options); });
}

}  // namespace heddle::cli
