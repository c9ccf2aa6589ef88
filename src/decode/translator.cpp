#include "heddle/decode/translator.h"

#include <algorithm>
#include <mutex>
#include <thread>

#include "heddle/base/error.h"
#include "heddle/decode/ensemble.h"
#include "heddle/decode/stream.h"
#include "heddle/decode/worker.h"
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
}

}  // namespace

struct Translator::State {
  TranslatorSettings settings;
  int threads = 1;
  std::vector<model::Transformer> models;
  std::optional<text::Tokenizer> source, target;
  std::optional<Shortlist> shortlist;
  TextSettings text;

  std::mutex mutex;
  std::vector<std::unique_ptr<Worker>> idle;  // workers of earlier calls, under the mutex

  State(std::span<const std::string> paths, const TranslatorSettings& given);

  void load_text(const model::ModelFiles& files);
  void load_shortlist(const model::ModelFiles& files);
  EngineSettings engine_settings(const Options& options) const;
  std::unique_ptr<Worker> new_worker(const EngineSettings& engine) const;
  std::unique_ptr<Worker> take_worker(const Options& options);
  void give_back(std::unique_ptr<Worker> worker);

  Statistics run(Stream& stream, bool inline_worker, const Sink& sink, const Control& control);
};

Translator::State::State(std::span<const std::string> paths, const TranslatorSettings& given)
    : settings(given), threads(threads_of(given)) {
  check(settings);
  HEDDLE_CHECK(!paths.empty(), "translator: no model; expected one or more paths");
  for (const std::string& path : paths) {
    const model::ModelFiles files = model::load_model(path);
    if (models.empty()) {
      load_text(files);
      load_shortlist(files);
    }
    models.emplace_back(files, settings.precision);
    const model::TransformerConfig &first = models[0].config(), &last = models.back().config();
    HEDDLE_CHECK(first.target_vocabulary == last.target_vocabulary &&
                     first.source_vocabulary == last.source_vocabulary && first.eos == last.eos,
                 "translator: ", path, " has a vocabulary of ", last.target_vocabulary, ", ",
                 paths[0], " one of ", first.target_vocabulary,
                 "; expected models that were trained with one vocabulary");
  }
  const model::TransformerConfig& config = models[0].config();
  int64_t most = settings.max_source_tokens;
  for (const model::Transformer& transformer : models) {
    const int64_t positions = transformer.config().max_positions;
    if (positions > 0) most = std::min(most, positions);
  }
  text.source = &*source;
  text.target = &*target;
  text.end = config.eos;
  text.segments.longest = static_cast<size_t>(most - 1);  // the end comes behind
  text.segments.split_sentences = settings.split_sentences;
  text.segments.language = settings.source_language;
}

void Translator::State::load_text(const model::ModelFiles& files) {
  HEDDLE_CHECK(!files.source_vocabulary.empty() && !files.target_vocabulary.empty(),
               "translator: the model has no SentencePiece vocabulary beside it; expected "
               "source.spm and target.spm, or vocab.*.spm");
  source = text::load_tokenizer(files.source_vocabulary);
  target = text::load_tokenizer(files.target_vocabulary);
  const auto fits = [](const text::Tokenizer& tokenizer, int64_t vocabulary, const char* side) {
    HEDDLE_CHECK(tokenizer.size() <= vocabulary, "translator: the ", side, " tokenizer has ",
                 tokenizer.size(), " pieces, the model ", vocabulary,
                 " embeddings; expected no more pieces than embeddings");
  };
  fits(*source, files.config.source_vocabulary, "source");
  fits(*target, files.config.target_vocabulary, "target");
}

void Translator::State::load_shortlist(const model::ModelFiles& files) {
  if (!settings.shortlist && settings.shortlist_file.empty()) return;
  const std::string path =
      settings.shortlist_file.empty() ? files.shortlist : settings.shortlist_file;
  HEDDLE_CHECK(!path.empty(),
               "translator: the model has no shortlist beside it; expected lex.*.bin. "
               "Name one, or do without");
  shortlist.emplace(io::Source(path), files.config.target_vocabulary);
  shortlist->set_shared(files.source_vocabulary == files.target_vocabulary);
}

EngineSettings Translator::State::engine_settings(const Options& options) const {
  EngineSettings engine;
  engine.rows = std::max(settings.rows, rows_of(options));
  engine.source_tokens = std::max<int64_t>(
      {64 * int64_t{engine.rows}, settings.max_source_tokens, settings.encode_tokens});
  const int64_t longest = options.target_limit(settings.max_source_tokens) * 2;  // with a prefix
  engine.target_tokens = std::max(kLeastTargetTokens, longest * rows_of(options));
  engine.allow_unknown = settings.allow_unknown;
  engine.fused = settings.fused_choice;
  return engine;
}

std::unique_ptr<Worker> Translator::State::new_worker(const EngineSettings& engine) const {
  std::vector<std::unique_ptr<Engine>> members;
  std::vector<const Profile*> profiles;
  for (const model::Transformer& transformer : models) {
    auto member = std::make_unique<ModelEngine>(transformer, engine);
    profiles.push_back(&member->profile());
    members.push_back(std::move(member));
  }
  SchedulerSettings scheduler;
  scheduler.admission = {settings.encode_tokens, settings.refill_rows};
  scheduler.shortlist = shortlist ? &*shortlist : nullptr;
  std::unique_ptr<Engine> whole =
      members.size() == 1 ? std::move(members[0]) : std::make_unique<Ensemble>(std::move(members));
  return std::make_unique<Worker>(std::move(whole), std::move(profiles), engine, scheduler, text);
}

std::unique_ptr<Worker> Translator::State::take_worker(const Options& options) {
  const EngineSettings wanted = engine_settings(options);
  {
    const std::lock_guard lock(mutex);
    const auto place = std::find_if(idle.begin(), idle.end(), [&](const auto& worker) {
      return worker->engine_settings().rows >= wanted.rows &&
             worker->engine_settings().target_tokens >= wanted.target_tokens;
    });
    if (place != idle.end()) {
      std::unique_ptr<Worker> worker = std::move(*place);
      idle.erase(place);
      return worker;
    }
    idle.clear();  // too small for what is asked now: better given back than kept beside
  }
  return new_worker(wanted);
}

void Translator::State::give_back(std::unique_ptr<Worker> worker) {
  const std::lock_guard lock(mutex);
  if (std::ssize(idle) < threads) idle.push_back(std::move(worker));
}

Statistics Translator::State::run(Stream& stream, bool inline_worker, const Sink& sink,
                                  const Control& control) {
  const Timer timer;
  const auto work = [this, &stream] {
    try {
      std::unique_ptr<Worker> worker = take_worker(*stream.job().options);
      worker->run(stream.job());
      give_back(std::move(worker));
    } catch (...) {
      stream.fail(std::current_exception());
    }
  };
  std::vector<std::thread> helpers;
  const int started = inline_worker ? stream.workers() - 1 : stream.workers();
  for (int i = 0; i < started; ++i) helpers.emplace_back(work);
  if (inline_worker) work();
  std::exception_ptr error;
  try {
    stream.write(sink, control, timer);
  } catch (const Stopped&) {
    stream.fail(std::current_exception());
  } catch (...) {
    error = std::current_exception();
    stream.fail(error);
  }
  for (std::thread& helper : helpers) helper.join();
  stream.join_reader();
  if (error) std::rethrow_exception(error);
  return stream.statistics(timer.seconds());
}

Translator::Translator(const std::string& model, const TranslatorSettings& settings)
    : Translator(std::span(&model, 1), settings) {}

Translator::Translator(std::span<const std::string> models, const TranslatorSettings& settings)
    : state_(std::make_unique<State>(models, settings)) {}

Translator::~Translator() = default;
Translator::Translator(Translator&&) noexcept = default;
Translator& Translator::operator=(Translator&&) noexcept = default;

Translation Translator::translate(const std::string& line, const Options& options) const {
  return std::move(translate(std::span(&line, 1), options).front());
}

std::vector<Translation> Translator::translate(std::span<const std::string> lines,
                                               const Options& options,
                                               std::span<const std::string> prefixes) const {
  HEDDLE_CHECK(prefixes.empty() || prefixes.size() == lines.size(), "translator: ", prefixes.size(),
               " prefixes for ", lines.size(), " lines; expected one a line");
  const int workers = static_cast<int>(std::clamp<int64_t>(std::ssize(lines), 1, state_->threads));
  Stream stream(state_->text, options, state_->settings, workers);
  for (size_t i = 0; i < lines.size(); ++i) {
    stream.add(lines[i], prefixes.empty() ? std::string() : prefixes[i]);
  }
  stream.close();
  std::vector<Translation> translations;
  translations.reserve(lines.size());
  state_->run(stream, true,
              [&](Translation&& translation) { translations.push_back(std::move(translation)); },
              {});
  return translations;
}

Statistics Translator::translate_stream(const Source& source, const Sink& sink,
                                        const Options& options, const Control& control) const {
  Stream stream(state_->text, options, state_->settings, state_->threads);
  stream.read(source, control);
  return state_->run(stream, false, sink, control);
}

const model::TransformerConfig& Translator::config() const { return state_->models[0].config(); }
int Translator::threads() const { return state_->threads; }
bool Translator::has_shortlist() const { return state_->shortlist.has_value(); }

int64_t Translator::model_bytes() const {
  int64_t bytes = 0;
  for (const model::Transformer& transformer : state_->models) bytes += transformer.bytes();
  return bytes;
}

}  // namespace heddle::decode
