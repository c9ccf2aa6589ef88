// The models of a server: each with a service of its own, replaced as a whole when its files
// change. A file that cannot be loaded changes nothing.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "heddle/decode/service.h"
#include "heddle/serve/log.h"
#include "heddle/serve/metrics.h"
#include "heddle/serve/replies.h"
#include "heddle/serve/settings.h"

namespace heddle::serve {

/// One version of a model. Whoever translates with it holds it.
struct LoadedModel {
  LoadedModel(const ServerSettings& settings, const ServerSettings::Model& model, Metrics& metrics);

  ModelSummary summary;
  decode::ModelSet set;
  decode::Service service;
};
using ModelPointer = std::shared_ptr<LoadedModel>;

class Models {
 public:
  /// Loads all; throws when one cannot be loaded, is named twice, or none is given.
  Models(const ServerSettings& settings, Metrics& metrics, const Log& log);
  ~Models();
  Models(const Models&) = delete;
  Models& operator=(const Models&) = delete;

  /// Without a name: the only model. Null: there is no such model.
  ModelPointer find(const std::optional<std::string>& name) const;

  /// From one language to another; an empty source: the only one with that target.
  ModelPointer find(std::string_view source, std::string_view target) const;

  std::vector<ModelPointer> all() const;

  /// Loads all models anew, soon and from another thread.
  void reload();

  /// No model takes anything any more.
  void close();

 private:
  /// What can be seen of files from outside: names, sizes and times.
  using Signature = std::string;
  struct Entry {
    ServerSettings::Model model;
    ModelPointer loaded;
    Signature signature;  // of what was loaded, or could not be
    Signature seen;       // at the last look, to wait until it no longer changes
  };

  static Signature signature_of(const std::string& path);
  void watch();
  void look(bool all);
  void load(Entry& entry, const Signature& signature);
  void reap();

  const ServerSettings& settings_;
  Metrics& metrics_;
  const Log& log_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Entry> entries_;         // only the watcher changes it, under the mutex
  std::vector<ModelPointer> retired_;  // of the watcher: replaced, perhaps still in use
  bool reload_ = false, stopping_ = false;
  std::thread watcher_;
};

}  // namespace heddle::serve
