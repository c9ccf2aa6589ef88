// `heddle merge`: an adapter into the model that it belongs to.
#include <memory>

#include "cli/commands.h"
#include "heddle/base/error.h"
#include "heddle/decode/language_model.h"
#include "heddle/io/quoted.h"
#include "heddle/model/formats/formats.h"
#include "heddle/model/formats/peft.h"

namespace heddle::cli {

namespace {

struct Options {
  std::string adapter, model, output, dtype = "f32";
};

void merge(const Options& options) {
  HEDDLE_CHECK(model::is_adapter(options.adapter), "merge: ", options.adapter,
               ": found no adapter_config.json; expected --adapter, a directory that has one");
  HEDDLE_CHECK(!options.output.empty(), "merge: expected --output DIR");
  const std::string base =
      options.model.empty() ? model::base_of_adapter(options.adapter) : options.model;
  HEDDLE_CHECK(!base.empty(), "merge: ", options.adapter,
               " does not say what it belongs to; expected --model");
  HEDDLE_CHECK(options.dtype == "f32" || options.dtype == "bf16" || options.dtype == "f16",
               "--dtype: found ", io::quoted(options.dtype), "; expected f32, bf16 or f16");
  model::ModelFiles files =
      model::base_for(options.adapter, model::load_model(decode::language_model_file(base)));
  const model::Adapter adapter = model::load_adapter(options.adapter, files.config);
  files = model::merged(std::move(files), adapter);
  const DType dtype = options.dtype == "f32"    ? DType::f32
                      : options.dtype == "bf16" ? DType::bf16
                                                : DType::f16;
  model::save_model(model::quantised(std::move(files), dtype), options.output);
  print(options.output + "\n");
}

}  // namespace

void add_merge_command(const Command& parent) {
  const Command command =
      parent.add_command("merge", "Put an adapter into its model: a Hugging Face directory");
  const auto options = std::make_shared<Options>();
  command.option("--adapter,--adapter_name_or_path", options->adapter,
                 "Directory with adapter_config.json and adapter_model.safetensors", "DIR");
  command.option("--model,--model_name_or_path", options->model,
                 "Its model; otherwise what adapter_config.json says", "PATH");
  command.option("--output,--export_dir", options->output, "Directory to write", "DIR");
  command.option("--dtype", options->dtype, "Of the matrices: f32, bf16 or f16", "NAME");
  command.footer("Example:\n  heddle merge --adapter run --output model --dtype bf16\n");
  command.run([options] { merge(*options); });
}

}  // namespace heddle::cli
