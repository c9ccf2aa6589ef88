// `heddle inspect`: what a model or a tensor file holds.
#include <memory>

#include "cli/commands.h"
#include "cli/format.h"
#include "cli/gguf_words.h"
#include "cli/model_words.h"
#include "cli/tensor_table.h"
#include "heddle/base/error.h"
#include "heddle/io/json.h"
#include "heddle/io/paths.h"
#include "heddle/model/formats/formats.h"

namespace heddle::cli {

namespace {

struct InspectOptions {
  std::string path;
  bool json = false;
  bool check_tensors = false;
};

/// A file that is not a model by itself (weights without their config) has tensors only.
struct Found {
  std::optional<model::ModelFiles> model;
  std::shared_ptr<const io::GgufModel> gguf;  ///< a language model's container
  std::string format;
  std::string reason;  ///< why it is not a model
  std::vector<TensorRow> rows;
};

Found look(const std::string& path) {
  Found found;
  if (io::is_directory(path)) {
    found.format = model::name_of(model::recognise(path));
    found.model = model::load_model(path);
    found.rows = rows_of_model(*found.model);
    return found;
  }
  if (io::exists(path) && io::GgufFile::recognises(io::Source(path))) {
    found.format = "GGUF";
    found.gguf = std::make_shared<const io::GgufModel>(path);
    found.rows = rows_of_gguf(found.gguf);
    return found;
  }
  try {
    found.format = model::name_of(model::recognise(path));
    found.model = model::load_model(path);
  } catch (const Error& error) {
    found.reason = error.what();
  }
  try {
    found.rows = rows_of_file(path);
  } catch (const Error&) {
    // A config that names a model has no tensors itself.
    if (!found.model) throw;
    found.rows = rows_of_model(*found.model);
  }
  return found;
}

std::string vocabulary_lines(const model::ModelFiles& model) {
  std::string text;
  const auto add = [&](const char* what, const std::string& path) {
    if (!path.empty()) text += str(what, ": ", path, "\n");
  };
  add("source vocabulary", model.source_vocabulary);
  add("target vocabulary", model.target_vocabulary);
  add("shortlist", model.shortlist);
  return text;
}

std::string text_of(const Found& found, const std::string& path) {
  if (found.gguf) return str(path, ": ", gguf_words(*found.gguf), "\n", table_of(found.rows));
  if (!found.model) {
    return str(path, ": tensors alone (", found.reason, ")\n\n", table_of(found.rows));
  }
  return str(path, ": ", found.format, "\n", architecture_words(found.model->config), "\n",
             model_size_words(*found.model), "\n", vocabulary_lines(*found.model), "\n",
             table_of(found.rows));
}

std::string json_text_of(const Found& found, const std::string& path) {
  std::string text = str("{\"path\": ", json_string(path));
  if (found.model) {
    text += str(",\n \"format\": ", json_string(found.format),
                ",\n \"config\": ", io::to_json(model::to_json(found.model->config)));
  }
  if (found.gguf) {
    text += str(",\n \"format\": ", json_string(found.format),
                ",\n \"metadata\": ", gguf_json(*found.gguf));
  }
  return text + str(",\n \"tensors\": ", json_of(found.rows), "}\n");
}

/// Throws when a tensor has NaN or infinite elements.
void check_tensors(const Found& found) {
  std::string bad;
  int64_t count = 0;
  for (const TensorRow& row : found.rows) {
    const int64_t elements = count_not_finite(row.read());
    if (elements == 0) continue;
    if (++count <= 10) bad += str("\n  ", row.name, ": ", elements, " of ", row.elements);
  }
  HEDDLE_CHECK(count == 0, "inspect: found NaN or infinite elements in ", count,
               " tensors; expected finite ones:", bad, count > 10 ? "\n  …" : "");
}

void inspect(const InspectOptions& options) {
  const Found found = look(options.path);
  print(options.json ? json_text_of(found, options.path) : text_of(found, options.path));
  if (!options.check_tensors) return;
  check_tensors(found);
  if (!options.json) print("all elements are finite\n");
}

}  // namespace

void add_inspect_command(const Command& parent) {
  const Command command = parent.add_command(
      "inspect", "show the architecture and the tensors of a model or a tensor file");
  const auto options = std::make_shared<InspectOptions>();
  command.positional("PATH", options->path,
                     "directory or file: Marian .bin or .npz, CTranslate2, safetensors, GGUF");
  command.flag("--json", options->json, "print one JSON object and nothing else");
  command.flag("--check-tensors", options->check_tensors,
               "read every element; exit code 1 when one is NaN or infinite");
  command.footer(
      "Examples:\n"
      "  heddle inspect model.enpt.intgemm.alphas.bin\n"
      "  heddle inspect enpt-heddle --json | jq .config\n"
      "  heddle inspect model.safetensors --check-tensors\n"
      "  heddle inspect gemma-3-270m-q4_k_m.gguf\n"
      "A directory lists its weights under the names the engine uses, a file under its own.");
  command.run([options] { inspect(*options); });
}

}  // namespace heddle::cli
