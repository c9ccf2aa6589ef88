#include "heddle/serve/models.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "heddle/base/error.h"
#include "heddle/serve/languages.h"

namespace heddle::serve {

namespace {

constexpr auto kBetweenLooks = std::chrono::seconds(1);  // a change is taken at its second look

decode::TranslatorSettings translator_settings(const ServerSettings& settings,
                                               const std::string& name) {
  decode::TranslatorSettings translator = settings.translator;
  if (translator.source_language.empty()) translator.source_language = direction_of(name).source;
  return translator;
}

decode::ServiceSettings service_settings(const ServerSettings& settings, Metrics& metrics) {
  decode::ServiceSettings service;
  service.queue_tokens = settings.limits.queue_tokens;
  service.most_rows = static_cast<int>(settings.limits.beam);
  service.stepped = [&metrics](int rows) { metrics.batch(rows); };
  return service;
}

}  // namespace

LoadedModel::LoadedModel(const ServerSettings& settings, const ServerSettings::Model& model,
                         Metrics& metrics)
    : set(std::span(&model.path, 1), translator_settings(settings, model.name)),
      service(set, service_settings(settings, metrics)) {
  const Direction direction = direction_of(model.name);
  summary = {model.name, direction.source, direction.target, set.parameters(), set.bytes()};
}

Models::Models(const ServerSettings& settings, Metrics& metrics, const Log& log)
    : settings_(settings), metrics_(metrics), log_(log) {
  HEDDLE_CHECK(!settings.models.empty(), "serve: no model; expected --model NAME=DIR");
  for (const ServerSettings::Model& model : settings.models) {
    for (const Entry& entry : entries_) {
      HEDDLE_CHECK(entry.model.name != model.name, "serve: two models have the name '", model.name,
                   "'; expected a name for each");
    }
    Entry entry{model, nullptr, signature_of(model.path), {}};
    entry.seen = entry.signature;
    entry.loaded = std::make_shared<LoadedModel>(settings, model, metrics);
    metrics.load(model.name, true);
    entries_.push_back(std::move(entry));
  }
  watcher_ = std::thread([this] { watch(); });
}

Models::~Models() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  watcher_.join();
}

ModelPointer Models::find(const std::optional<std::string>& name) const {
  const std::lock_guard lock(mutex_);
  if (!name) return entries_.size() == 1 ? entries_[0].loaded : nullptr;
  for (const Entry& entry : entries_) {
    if (entry.model.name == *name) return entry.loaded;
  }
  return nullptr;
}

ModelPointer Models::find(std::string_view source, std::string_view target) const {
  ModelPointer found;
  for (const ModelPointer& model : all()) {
    if (model->summary.target != target) continue;
    if (!source.empty() && model->summary.source != source) continue;
    if (found) return nullptr;  // several
    found = model;
  }
  return found;
}

std::vector<ModelPointer> Models::all() const {
  const std::lock_guard lock(mutex_);
  std::vector<ModelPointer> all;
  for (const Entry& entry : entries_) all.push_back(entry.loaded);
  return all;
}

void Models::reload() {
  {
    const std::lock_guard lock(mutex_);
    reload_ = true;
  }
  changed_.notify_all();
}

void Models::close() {
  for (const ModelPointer& model : all()) model->service.close();
}

Models::Signature Models::signature_of(const std::string& path) {
  std::vector<std::string> files;
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    for (const auto& file : std::filesystem::directory_iterator(path, ignored)) {
      files.push_back(file.path().string());
    }
  } else {
    files.push_back(path);
  }
  std::sort(files.begin(), files.end());
  Signature signature;
  for (const std::string& file : files) {
    struct stat status {};
    if (::stat(file.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    signature += str(file, " ", int64_t{status.st_size}, " ", int64_t{status.st_mtim.tv_sec}, " ",
                     int64_t{status.st_mtim.tv_nsec}, "\n");
  }
  return signature;
}

void Models::watch() {
  for (;;) {
    bool all = false;
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, kBetweenLooks, [this] { return stopping_ || reload_; });
      if (stopping_) return;
      all = std::exchange(reload_, false);
    }
    look(all);
    reap();
  }
}

void Models::look(bool all) {
  for (Entry& entry : entries_) {
    Signature now = signature_of(entry.model.path);
    const bool changed = now != entry.signature;
    const bool stable = now == entry.seen;
    if (all || (changed && stable)) load(entry, now);
    entry.seen = std::move(now);
  }
}

void Models::load(Entry& entry, const Signature& signature) {
  ModelPointer fresh;
  std::string error;
  try {
    fresh = std::make_shared<LoadedModel>(settings_, entry.model, metrics_);
  } catch (const std::exception& exception) {
    error = exception.what();
  }
  metrics_.load(entry.model.name, fresh != nullptr);
  if (fresh) {
    log_.message(str("model ", entry.model.name, ": loaded anew"));
  } else {
    log_.message(
        str("model ", entry.model.name, ": cannot be loaded, the one before stays: ", error));
  }
  const std::lock_guard lock(mutex_);
  entry.signature = signature;
  if (fresh) retired_.push_back(std::exchange(entry.loaded, std::move(fresh)));
}

/// A service must not end on one of its own threads, so the last to hold a model is this thread.
void Models::reap() {
  std::erase_if(retired_, [](const ModelPointer& model) {
    return model.use_count() == 1 && model->service.open_submissions() == 0;
  });
}

}  // namespace heddle::serve
