// What translates, read once and never changed: a model, or several that vote, with tokenizers and
// shortlist. Workers are made from it, and it must outlive them.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "heddle/decode/gpu.h"
#include "heddle/decode/model_engine.h"
#include "heddle/decode/scheduler.h"
#include "heddle/decode/shortlist.h"
#include "heddle/decode/text_path.h"
#include "heddle/decode/translator.h"
#include "heddle/decode/worker.h"
#include "heddle/model/transformer.h"
#include "heddle/text/tokenizer.h"

namespace heddle::decode {

class ModelSet {
 public:
  /// Throws unless there is at least one model and all agree in their vocabularies.
  ModelSet(std::span<const std::string> paths, const TranslatorSettings& settings);
  ModelSet(const model::ModelFiles& files, const TranslatorSettings& settings);
  ModelSet(const ModelSet&) = delete;
  ModelSet& operator=(const ModelSet&) = delete;

  const TextSettings& text() const { return text_; }
  const TranslatorSettings& settings() const { return settings_; }
  const model::TransformerConfig& config() const { return config_of(0); }
  bool has_shortlist() const { return shortlist_.has_value(); }
  int64_t bytes() const;  ///< memory of the weights
  int64_t parameters() const { return parameters_; }

  /// What an engine must hold for requests with such options.
  EngineSettings engine_settings(const Options& options) const;
  std::unique_ptr<Worker> new_worker(const EngineSettings& engine) const;

  /// Workers that the settings ask for, and threads beside them that do the text alone.
  int threads() const { return threads_; }
  int text_threads() const { return text_threads_; }

 private:
  explicit ModelSet(const TranslatorSettings& settings);
  void add(const model::ModelFiles& files, const std::string& name);
  void finish();
  void fit_rows();
  EngineSettings engine_settings(const Options& options, int rows, int64_t encode_tokens) const;
  void load_text(const model::ModelFiles& files);
  void load_shortlist(const model::ModelFiles& files);
  bool on_gpu() const { return settings_.device == DeviceType::cuda; }
  size_t models() const { return on_gpu() ? gpu_models_.size() : models_.size(); }
  const model::TransformerConfig& config_of(size_t model) const {
    return on_gpu() ? gpu_models_[model].config() : models_[model].config();
  }

  TranslatorSettings settings_;
  int threads_ = 1, text_threads_ = 0;
  int64_t parameters_ = 0;
  std::vector<model::Transformer> models_;  // or …
  std::vector<GpuModel> gpu_models_;
  std::optional<text::Tokenizer> source_, target_;  // no target: the source's
  std::optional<Shortlist> shortlist_;
  TextSettings text_;
};

}  // namespace heddle::decode
