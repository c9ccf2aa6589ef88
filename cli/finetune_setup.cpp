#include "cli/finetune_setup.h"

#include <algorithm>
#include <cmath>

#include "cli/format.h"
#include "cli/train_setup.h"
#include "heddle/base/error.h"
#include "heddle/io/paths.h"
#include "heddle/io/quoted.h"
#include "heddle/model/formats/formats.h"
#include "heddle/model/formats/peft.h"
#include "heddle/text/tokenizer_json.h"

namespace heddle::cli {

namespace {

constexpr int64_t kMany = int64_t{1} << 40;

bool trains_all(const io::Field& config) {
  const std::string type = config["finetuning_type"].text();
  HEDDLE_CHECK(type == "lora" || type == "full", "finetuning_type: found ", io::quoted(type),
               "; expected lora or full");
  return type == "full";
}

std::vector<std::string> texts_or(const io::Field& config, const char* key) {
  std::vector<std::string> names;
  for (const std::string& each : texts_of(config, key)) {  // "q_proj,v_proj" is two
    for (size_t begin = 0; begin <= each.size();) {
      const size_t end = std::min(each.find(',', begin), each.size());
      if (end > begin) names.push_back(each.substr(begin, end - begin));
      begin = end + 1;
    }
  }
  return names;
}

}  // namespace

Stage stage_of(const io::Field& config) {
  const std::string stage = config["stage"].text();
  HEDDLE_CHECK(stage == "sft" || stage == "dpo" || stage == "rm", "stage: found ",
               io::quoted(stage), "; expected sft, dpo or rm");
  return stage == "sft" ? Stage::sft : stage == "dpo" ? Stage::dpo : Stage::rm;
}

int64_t row_length(const io::Field& config) {
  const int64_t longest = config["cutoff_len"].integer(2, data::kLongestRow);
  const auto given = config.find("packing_length");
  if (stage_of(config) != Stage::sft) {
    return given ? given->integer(longest, data::kLongestRow)
                 : std::min(2 * longest, data::kLongestRow);
  }
  if (!config["packing"].boolean() || !given) return longest;
  return given->integer(longest, data::kLongestRow);
}

data::ConversationOptions reading_options(const io::Field& config) {
  const std::string bad = config["on_bad_line"].text();
  HEDDLE_CHECK(bad == "raise" || bad == "skip", "on_bad_line: found ", io::quoted(bad),
               "; expected raise or skip");
  return {.format = data::dataset_format(config["dataset_format"].text()),
          .on_bad_line = bad == "raise" ? data::OnBadLine::raise : data::OnBadLine::skip};
}

data::ChatTokenOptions token_options(const io::Field& config) {
  return {.train_on = data::train_on(config["train_on"].text()),
          .train_on_eos = data::train_on_eos(config["train_on_eos"].text()),
          .max_length = config["cutoff_len"].integer(2, data::kLongestRow),
          .excess_length_strategy =
              data::excess_length_strategy(config["excess_length_strategy"].text()),
          .split_special_tokens = config["split_special_tokens"].boolean(),
          .skips_refused = config["on_bad_line"].text() == "skip"};
}

std::string cache_folder(const io::Field& config) {
  const std::string folder = config.text_or("cache_dir", "");
  return folder.empty() ? io::join_path(config["output_dir"].text(), "cache") : folder;
}

std::vector<std::string> vocabularies_of(const decode::TextFiles& text) {
  return {io::is_directory(text.path) ? io::join_path(text.path, "tokenizer.json") : text.path};
}

std::optional<model::LoraSettings> lora_settings(const io::Field& config) {
  if (trains_all(config)) return {};
  model::LoraSettings settings;
  settings.rank = config["lora_rank"].integer(1, 65'536);
  settings.alpha = config.number_or("lora_alpha", 2 * static_cast<double>(settings.rank));
  settings.dropout = config["lora_dropout"].number();
  settings.use_rslora = config["use_rslora"].boolean();
  settings.use_dora = config["use_dora"].boolean();
  const std::vector<std::string> targets = texts_or(config, "lora_target");
  if (!targets.empty() && targets != std::vector<std::string>{"all"}) settings.targets = targets;
  settings.saved = texts_or(config, "modules_to_save");
  if (stage_of(config) == Stage::rm &&
      std::ranges::find(settings.saved, "score") == settings.saved.end()) {
    settings.saved.emplace_back("score");
  }
  return settings;
}

std::optional<model::Adapter> starting_adapter(const io::Field& config,
                                               const model::ModelFiles& base) {
  const auto settings = lora_settings(config);
  const std::string given = config.text_or("adapter_name_or_path", "");
  HEDDLE_CHECK(settings || given.empty(),
               "adapter_name_or_path: found an adapter with finetuning_type full; expected lora. "
               "Hint: heddle merge puts it into the model");
  if (!settings) return {};
  const auto seed = static_cast<uint64_t>(config["seed"].integer(0, INT64_MAX));
  model::Adapter adapter = given.empty() ? model::new_adapter(base, *settings, seed)
                                         : model::load_adapter(given, base.config);
  if (!given.empty()) adapter.settings.dropout = settings->dropout;
  adapter.base = config["model_name_or_path"].text();
  return adapter;
}

data::ExampleCache open_examples(const io::Field& config, const std::string& key,
                                 const decode::TextFiles& text, ThreadPool* threads,
                                 uint64_t& cache_key) {
  const auto chat = decode::chat_template_for(text, config.text_or("template", ""));
  data::DatasetOptions options;
  options.files = texts_of(config, key);
  options.reading = reading_options(config);
  options.tokens = token_options(config);
  options.vocabularies = vocabularies_of(text);
  if (chat) options.chat_template = std::string(chat->name());
  cache_key = data::example_cache_key(options).value;
  const data::RenderTurns render =
      chat ? data::render_turns(*chat, text.tokenizer) : data::RenderTurns{};
  return data::open_example_cache(options, text.tokenizer, render, cache_folder(config), threads);
}

data::RowPackerOptions row_options(const io::Field& config) {
  return {.packing_length = row_length(config),
          .window = config["shuffle_window"].integer(1, kMany),
          .seed = static_cast<uint64_t>(config["seed"].integer(0, INT64_MAX)),
          .shuffle = true,
          .packs = config["packing"].boolean()};
}

uint64_t held_out_items(uint64_t items, double val_size) {
  const auto size = static_cast<double>(items);
  HEDDLE_CHECK(val_size >= 0 && std::isfinite(val_size), "val_size: found ", val_size,
               "; expected a share below 1, or a number of examples");
  const auto held = static_cast<uint64_t>(val_size < 1 ? std::ceil(val_size * size) : val_size);
  HEDDLE_CHECK(held < items, "val_size: found ", held, " of ", items,
               " examples; expected fewer, so that some are left to train on");
  return held;
}

SplitExamples split_examples(const data::TokenExamples& all, double val_size) {
  const uint64_t first = all.size() - held_out_items(all.size(), val_size);
  return {.training = {all.tokens, all.offsets.first(first + 1)},
          .held_out = {all.tokens, all.offsets.subspan(first)}};
}

train::TrainerSettings finetune_settings(const io::Field& config, int64_t batches_in_epoch) {
  train::TrainerSettings settings = common_settings(config);
  if (settings.max_steps == 0) {
    const double epochs = config["num_train_epochs"].number();
    HEDDLE_CHECK(epochs > 0 && epochs <= 1e6, "num_train_epochs: found ", epochs,
                 "; expected a number above 0, or max_steps");
    const double steps = static_cast<double>(batches_in_epoch) / settings.accumulation;
    settings.max_steps = std::max<int64_t>(1, static_cast<int64_t>(std::ceil(epochs * steps)));
  }
  settings.schedule.last_step = settings.max_steps;
  if (settings.schedule.warmup_steps == 0) {
    const double ratio = config["warmup_ratio"].number();
    HEDDLE_CHECK(ratio >= 0 && ratio < 1, "warmup_ratio: found ", ratio, "; expected 0 … 1");
    settings.schedule.warmup_steps =
        static_cast<int64_t>(std::ceil(ratio * static_cast<double>(settings.max_steps)));
  }
  settings.check();
  return settings;
}

train::PlannedRun planned_run(const io::Field& config, int workers, Device device) {
  return {.lora = lora_settings(config),
          .longest = stage_of(config) == Stage::sft
                         ? config["cutoff_len"].integer(2, data::kLongestRow)
                         : row_length(config),  // a group is not cut
          .batch_tokens =
              row_length(config) * config["per_device_train_batch_size"].integer(1, 1 << 20),
          .device = device.type,
          .workers = workers,
          .recompute = config["gradient_checkpointing"].boolean(),
          .state_bits = static_cast<int>(config["optim_bits"].integer(8, 32))};
}

bool has_second_model(const io::Field& config) {
  if (stage_of(config) != Stage::dpo || config["reference_free"].boolean()) return false;
  const auto given = [&](const char* key) { return !config.text_or(key, "").empty(); };
  return given("ref_model") || given("adapter_name_or_path") || trains_all(config) ||
         !texts_of(config, "modules_to_save").empty();
}

int64_t reference_numbers(const io::Field& config, const model::TransformerConfig& model) {
  if (!has_second_model(config) || config["precompute_ref_log_probs"].boolean()) return 0;
  int64_t numbers = 0;  // a reference of another size is not looked at before it is read
  for (const auto& each : model::parameters_of(model)) numbers += each.shape.elements();
  return numbers;
}

void check_memory(const io::Field& config, const model::TransformerConfig& model,
                  const train::PlannedRun& run) {
  const double given = config["max_memory"].number();
  const auto most =
      given > 0 ? static_cast<int64_t>(given * (1 << 30)) : train::free_memory(run.device);
  const int64_t planned = train::plan_memory(model, run).bytes();
  if (most == 0 || planned <= most) return;
  const bool on_gpu = run.device == DeviceType::cuda;
  const int64_t longest = train::longest_that_fits(model, run, most);
  const auto gib = [](int64_t bytes) { return bytes_text(static_cast<double>(bytes)); };
  detail::throw_error(str("memory: this run takes about ", gib(planned),
                          on_gpu ? " of the GPU" : "", "; found ", gib(most), ". ",
                          longest >= 2
                              ? str("The longest row that fits: ", longest, " tokens (cutoff_len)")
                              : "No row fits",
                          run.recompute ? "" : ". Hint: gradient_checkpointing takes less"));
}

}  // namespace heddle::cli
