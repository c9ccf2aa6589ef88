#include "cli/evaluate_language.h"

#include <algorithm>
#include <cmath>
#include <thread>

#include "cli/format.h"
#include "cli/training_run.h"
#include "heddle/base/error.h"
#include "heddle/io/json.h"
#include "heddle/model/formats/formats.h"
#include "heddle/model/formats/peft.h"
#include "heddle/train/batch_source.h"
#include "heddle/train/language.h"

namespace heddle::cli {

namespace {

constexpr int64_t kRowTokens = 4096;

/// The adapter of that directory, or one of nothing: no weight is trained here.
model::Adapter adapter_of(const std::string& path, const model::TransformerConfig& config) {
  if (!path.empty()) return model::load_adapter(path, config);
  return {.settings = {.targets = {}}, .base = {}, .parameters = {}};
}

}  // namespace

void evaluate_language(const LanguageEvaluation& options) {
  HEDDLE_CHECK(!options.model.empty(),
               "evaluate: expected --model, a Hugging Face directory or a GGUF file");
  const std::string path = decode::language_model_file(options.model);
  const ReadExamples found = read_examples(options.data, text_files_of(path));
  model::ModelFiles files = model::load_model(path);
  HEDDLE_CHECK(files.config.is_language_model(), "evaluate: ", path,
               ": found an encoder–decoder; expected a language model");
  ThreadPool pool(options.threads > 0
                      ? static_cast<int>(options.threads)
                      : static_cast<int>(std::max(1u, std::thread::hardware_concurrency())));
  model::Adapter adapter = adapter_of(options.adapter, files.config);
  const auto model = train::make_language_training(std::move(files), std::move(adapter),
                                                   device_of(options.device), pool);
  const train::RowBatches rows(
      found.view(),
      {.packing_length = std::max(kRowTokens, options.data.max_length), .shuffle = false}, 1);
  const auto stream = rows.open({});
  train::LossSums sums;
  for (data::PackedBatch batch; stream->next(batch);) sums += model->loss(batch, {});
  const double loss = sums.nll / sums.weight;
  const double accuracy = static_cast<double>(sums.correct) / static_cast<double>(sums.tokens);
  if (options.json) {
    io::Value value;
    value.set("loss", loss);
    value.set("perplexity", std::exp(loss));
    value.set("mean_token_accuracy", accuracy);
    value.set("num_tokens", sums.tokens);
    value.set("examples", static_cast<int64_t>(found.lines.size()));
    print(io::to_json(value, 1) + "\n");
    return;
  }
  print(str("data set    ", found.counts.summary(), "\n", "tokens      ",
            with_separators(sums.tokens), "\n", "loss        ", json_number(loss), "\n",
            "perplexity  ", json_number(std::exp(loss)), "\n", "accuracy    ",
            percent_text(accuracy), "\n"));
}

}  // namespace heddle::cli
