#include "heddle/decode/translator.h"

#include <algorithm>
#include <mutex>
#include <thread>

#include "heddle/base/error.h"
#include "heddle/decode/model_set.h"
#include "heddle/decode/stream.h"
#include "heddle/decode/text_worker.h"

namespace heddle::decode {

struct Translator::State {
  ModelSet models;

  std::mutex mutex;
  std::vector<std::unique_ptr<Worker>> idle;  // workers of earlier calls, under the mutex

  template <typename From>
  State(const From& from, const TranslatorSettings& settings) : models(from, settings) {}

  std::unique_ptr<Worker> take_worker(const Options& options);
  void give_back(std::unique_ptr<Worker> worker);

  Statistics run(Stream& stream, bool inline_worker, const Sink& sink, const Control& control);
};

std::unique_ptr<Worker> Translator::State::take_worker(const Options& options) {
  const EngineSettings wanted = models.engine_settings(options);
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
  return models.new_worker(wanted);
}

void Translator::State::give_back(std::unique_ptr<Worker> worker) {
  const std::lock_guard lock(mutex);
  if (std::ssize(idle) < models.threads()) idle.push_back(std::move(worker));
}

Statistics Translator::State::run(Stream& stream, bool inline_worker, const Sink& sink,
                                  const Control& control) {
  const Timer timer;
  const auto work = [this, &stream] {
    try {
      std::unique_ptr<Worker> worker = take_worker(stream.options());
      worker->run(stream.job());
      give_back(std::move(worker));
    } catch (...) {
      stream.fail(std::current_exception());
    }
  };
  const auto do_text = [this, &stream] {
    try {
      TextWorker(models.text()).run(stream.job());
    } catch (...) {
      stream.fail(std::current_exception());
    }
  };
  std::vector<std::thread> helpers;
  const int started = stream.crew().decoding - (inline_worker ? 1 : 0);
  for (int i = 0; i < stream.crew().text; ++i) helpers.emplace_back(do_text);
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

Translator::Translator(const model::ModelFiles& model, const TranslatorSettings& settings)
    : state_(std::make_unique<State>(model, settings)) {}

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
  const int workers =
      static_cast<int>(std::clamp<int64_t>(std::ssize(lines), 1, state_->models.threads()));
  Stream stream(state_->models.text(), options, state_->models.settings(), {.decoding = workers});
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
  Stream stream(state_->models.text(), options, state_->models.settings(),
                {.decoding = state_->models.threads(), .text = state_->models.text_threads()});
  stream.read(source, control);
  return state_->run(stream, false, sink, control);
}

const model::TransformerConfig& Translator::config() const { return state_->models.config(); }
int Translator::threads() const { return state_->models.threads(); }
bool Translator::has_shortlist() const { return state_->models.has_shortlist(); }

int64_t Translator::model_bytes() const { return state_->models.bytes(); }

}  // namespace heddle::decode
