#include "heddle/decode/model_set.h"

#include <algorithm>
#include <future>
#include <thread>

#include "heddle/base/error.h"
#include "heddle/decode/ensemble.h"
#include "heddle/decode/gpu_memory.h"
#include "heddle/model/formats/formats.h"

namespace heddle::decode {

namespace {

constexpr int64_t kLeastTargetTokens = 8192;

int threads_of(const TranslatorSettings& settings) {
  HEDDLE_CHECK(settings.threads >= 0 && settings.threads <= 1024, "translator: ", settings.threads,
               " threads; expected 1 … 1024, or 0 for one a processor");
  if (settings.threads > 0) return settings.threads;
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

void check(const TranslatorSettings& settings) {
  HEDDLE_CHECK(settings.rows >= 1 && settings.rows <= 65536, "translator: ", settings.rows,
               " rows; expected 1 … 65536");
  HEDDLE_CHECK(settings.encode_tokens >= 1, "translator: encode_tokens is ", settings.encode_tokens,
               "; expected 1 or more");
  HEDDLE_CHECK(settings.refill_rows >= 1 && settings.refill_rows <= settings.rows,
               "translator: refill_rows is ", settings.refill_rows, "; expected 1 … ",
               settings.rows, ", the rows");
  HEDDLE_CHECK(settings.max_source_tokens >= 2 && settings.max_source_tokens <= 65536,
               "translator: max_source_tokens is ", settings.max_source_tokens,
               "; expected 2 … 65536");
  HEDDLE_CHECK(settings.text_threads >= 0 && settings.text_threads <= 1024,
               "translator: ", settings.text_threads, " threads for text; expected 0 … 1024");
  if (settings.device == DeviceType::cpu) return;
  require_gpu();
  HEDDLE_CHECK(settings.gpu_memory >= 0, "gpu_memory: found ", settings.gpu_memory,
               " bytes; expected 0 or more");
  HEDDLE_CHECK(settings.decoders >= 1 && settings.decoders <= 64, "translator: ", settings.decoders,
               " decoders; expected 1 … 64");
  HEDDLE_CHECK(settings.precision == model::Precision::native ||
                   settings.precision == model::Precision::f16 ||
                   settings.precision == model::Precision::bf16,
               "--precision: found f32 or int8 on a GPU; expected f16, bf16, or native, which is "
               "bf16 there. Hint: --device cpu");
}

}  // namespace

TranslatorSettings TranslatorSettings::of(DeviceType device) {
  TranslatorSettings settings;
  if (device == DeviceType::cpu) return settings;
  settings.device = device;
  settings.rows = 4096;
  settings.encode_tokens = 16384;
  settings.refill_rows = 256;
  settings.window_lines = 65536;
  return settings;
}

ModelSet::ModelSet(const TranslatorSettings& settings)
    : settings_(settings), threads_(threads_of(settings)) {
  check(settings);
  text_threads_ = settings_.text_threads;
  if (!on_gpu()) return;
  const int all = threads_;
  threads_ = settings_.decoders;
  if (text_threads_ == 0) text_threads_ = std::max(all - threads_, 1);
}

ModelSet::ModelSet(std::span<const std::string> paths, const TranslatorSettings& settings)
    : ModelSet(settings) {
  HEDDLE_CHECK(!paths.empty(), "translator: no model; expected one or more paths");
  for (const std::string& path : paths) add(model::load_model(path), path);
  finish();
}

ModelSet::ModelSet(const model::ModelFiles& files, const TranslatorSettings& settings)
    : ModelSet(settings) {
  add(files, "the model");
  finish();
}

void ModelSet::add(const model::ModelFiles& files, const std::string& name) {
  HEDDLE_CHECK(!files.config.is_language_model(), "translator: ", name,
               " is a language model; expected an encoder–decoder, which translates");
  std::future<void> reads_text;  // takes as long as packing the weights does
  if (models() == 0) {
    load_shortlist(files);
    reads_text = std::async(std::launch::async, [&] { load_text(files); });
  }
  for (const auto& [parameter_name, parameter] : files.parameters) {
    parameters_ += parameter.values.elements();
  }
  if (on_gpu()) {
    const bool f16 = settings_.precision == model::Precision::f16;
    gpu_models_.emplace_back(files, f16 ? Half::f16 : Half::bf16);
  } else {
    models_.emplace_back(files, settings_.precision);
  }
  if (reads_text.valid()) reads_text.get();
  const model::TransformerConfig &first = config(), &last = config_of(models() - 1);
  HEDDLE_CHECK(first.target_vocabulary == last.target_vocabulary &&
                   first.source_vocabulary == last.source_vocabulary && first.eos == last.eos,
               "translator: ", name, " has a vocabulary of ", last.target_vocabulary,
               ", the first model one of ", first.target_vocabulary,
               "; expected models that were trained with one vocabulary");
}

void ModelSet::finish() {
  const model::TransformerConfig& config = this->config();
  int64_t most = settings_.max_source_tokens;
  for (size_t i = 0; i < models(); ++i) {
    const int64_t positions = config_of(i).max_positions;
    if (positions > 0) most = std::min(most, positions);
  }
  if (on_gpu()) fit_rows();
  text_.source = &*source_;
  text_.target = target_ ? &*target_ : &*source_;
  text_.end = config.eos;
  text_.ends_source = config.ends_source;
  text_.segments.longest = static_cast<size_t>(most - 1);  // the end comes behind
  text_.segments.split_sentences = settings_.split_sentences;
  text_.segments.language = settings_.source_language;
}

/// As many rows and decoders as the GPU's memory has room for.
void ModelSet::fit_rows() {
  constexpr double kMostOfFree = 0.8;
  const auto engines = [this](const GpuShape& shape) {
    const EngineSettings engine = engine_settings({}, shape.rows, shape.encode_tokens);
    int64_t sum = 0;
    for (const GpuModel& model : gpu_models_) {
      sum += shape.decoders * engine_bytes(model.config(), engine, shape.encode_tokens);
    }
    return sum;
  };
  const int64_t taken = kGpuLibraries + bytes(), given = settings_.gpu_memory;
  const auto free = static_cast<int64_t>(kMostOfFree * static_cast<double>(free_gpu_memory()));
  const std::optional<GpuShape> shape = fitted({threads_, settings_.rows, settings_.encode_tokens},
                                               given > 0 ? given - taken : free, engines);
  const auto mib = [](int64_t bytes) { return (bytes + (1 << 20) - 1) >> 20; };
  HEDDLE_CHECK(shape, "gpu_memory: found ", mib(given > 0 ? given : free + taken),
               " MiB; expected ",
               mib(taken + engines({1, settings_.rows, settings_.encode_tokens})),
               " or more, for this model with its fewest rows");
  settings_.rows = shape->rows;
  settings_.encode_tokens = shape->encode_tokens;
  text_threads_ += threads_ - shape->decoders;
  threads_ = shape->decoders;
  settings_.refill_rows = std::min(settings_.refill_rows, settings_.rows);
}

void ModelSet::load_text(const model::ModelFiles& files) {
  HEDDLE_CHECK(!files.source_vocabulary.empty() && !files.target_vocabulary.empty(),
               "translator: the model has no SentencePiece vocabulary beside it; expected "
               "source.spm and target.spm, or vocab.*.spm");
  source_ = text::load_tokenizer(files.source_vocabulary, files.source_pieces);
  if (files.target_vocabulary != files.source_vocabulary ||
      files.target_pieces != files.source_pieces) {
    target_ = text::load_tokenizer(files.target_vocabulary, files.target_pieces);
  }
  const auto fits = [](const text::Tokenizer& tokenizer, int64_t vocabulary, const char* side) {
    HEDDLE_CHECK(tokenizer.size() <= vocabulary, "translator: the ", side, " tokenizer has ",
                 tokenizer.size(), " pieces, the model ", vocabulary,
                 " embeddings; expected no more pieces than embeddings");
  };
  fits(*source_, files.config.source_vocabulary, "source");
  fits(target_ ? *target_ : *source_, files.config.target_vocabulary, "target");
}

void ModelSet::load_shortlist(const model::ModelFiles& files) {
  if (!settings_.shortlist && settings_.shortlist_file.empty()) return;
  const std::string path =
      settings_.shortlist_file.empty() ? files.shortlist : settings_.shortlist_file;
  HEDDLE_CHECK(!path.empty(),
               "translator: the model has no shortlist beside it; expected lex.*.bin. "
               "Name one, or do without");
  shortlist_.emplace(io::Source(path), files.config.target_vocabulary);
  shortlist_->set_shared(files.source_vocabulary == files.target_vocabulary);
}

EngineSettings ModelSet::engine_settings(const Options& options) const {
  return engine_settings(options, settings_.rows, settings_.encode_tokens);
}

EngineSettings ModelSet::engine_settings(const Options& options, int rows,
                                         int64_t encode_tokens) const {
  EngineSettings engine;
  engine.rows = std::max(rows, rows_of(options));
  engine.source_tokens =
      std::max<int64_t>({64 * int64_t{engine.rows}, settings_.max_source_tokens, encode_tokens});
  const int64_t longest = options.target_limit(settings_.max_source_tokens) * 2;  // with a prefix
  engine.target_tokens = std::max(kLeastTargetTokens, longest * rows_of(options));
  engine.allow_unknown = settings_.allow_unknown;
  engine.fused = settings_.fused_choice;
  engine.graphs = settings_.graphs;
  if (!on_gpu()) return engine;
  // Each row reserves its limit; most sources are far shorter than the longest.
  constexpr int64_t kReserved = 160;
  engine.target_tokens = std::max(engine.target_tokens, kReserved * engine.rows);
  return engine;
}

std::unique_ptr<Worker> ModelSet::new_worker(const EngineSettings& engine) const {
  std::vector<std::unique_ptr<Engine>> members;
  std::vector<const Profile*> profiles;
  for (const GpuModel& model : gpu_models_) {
    GpuModel::Made made = model.engine(engine);
    profiles.push_back(made.profile);
    members.push_back(std::move(made.engine));
  }
  for (const model::Transformer& transformer : models_) {
    auto member = std::make_unique<ModelEngine>(transformer, engine);
    profiles.push_back(&member->profile());
    members.push_back(std::move(member));
  }
  SchedulerSettings scheduler;
  scheduler.admission = {settings_.encode_tokens, settings_.refill_rows};
  scheduler.shortlist = shortlist_ ? &*shortlist_ : nullptr;
  std::unique_ptr<Engine> whole =
      members.size() == 1 ? std::move(members[0]) : std::make_unique<Ensemble>(std::move(members));
  return std::make_unique<Worker>(std::move(whole), std::move(profiles), engine, scheduler, text_);
}

int64_t ModelSet::bytes() const {
  int64_t bytes = 0;
  for (const model::Transformer& transformer : models_) bytes += transformer.bytes();
  for (const GpuModel& model : gpu_models_) bytes += model.bytes();
  return bytes;
}

}  // namespace heddle::decode
