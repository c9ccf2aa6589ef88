#include "heddle/train/translation.h"

#include <utility>

#include "heddle/base/error.h"
#include "heddle/decode/translator.h"
#include "heddle/io/paths.h"
#include "heddle/model/flops.h"
#include "heddle/model/formats/formats.h"
#include "heddle/text/score/metric.h"
#include "heddle/train/cuda/translation.h"
#include "heddle/train/optimizer.h"

namespace heddle::train {

namespace {

model::PackedPair pair_of(const data::PackedBatch& batch) {
  return {batch.sources, batch.source_offsets, batch.targets, batch.target_offsets};
}

}  // namespace

model::TrainingBatch view_of(const data::PackedBatch& batch) {
  return {.pair = pair_of(batch),
          .labels = batch.labels,
          .weights = batch.weights,
          .teacher = {batch.teacher_ids, batch.teacher_logs, batch.teacher_count}};
}

std::unique_ptr<TranslationModel> make_translation_model(model::ModelFiles files, Device device,
                                                         ThreadPool& threads) {
  if (device.type == DeviceType::cuda) return cuda::translation_model(std::move(files), device);
  return std::make_unique<HostTranslationModel>(std::move(files), threads);
}

HostTranslationModel::HostTranslationModel(model::ModelFiles files, ThreadPool& threads)
    : transformer_(std::move(files)), threads_(threads) {}

LossSums HostTranslationModel::forward_backward(const data::PackedBatch& batch,
                                                const LossSettings& settings) {
  return transformer_.forward_backward(view_of(batch), settings, &threads_);
}

LossSums HostTranslationModel::loss(const data::PackedBatch& batch, const LossSettings& settings) {
  return transformer_.loss(view_of(batch), settings, &threads_);
}

double TranslationModel::flops(const data::PackedBatch& batch) const {
  return model::training_flops(config(), pair_of(batch));
}

void TranslationModel::save(const std::string& folder, io::FileOperations& files) {
  model::save_model(this->files(), folder, files);
}

std::unique_ptr<Optimizer> HostTranslationModel::optimizer(const AdamWSettings& settings,
                                                           ThreadPool* threads) {
  return host_optimizer(slots(), settings, threads);
}

void HostTranslationModel::load(const std::string& folder) {
  load_values(slots(), io::join_path(folder, "model.safetensors"));
}

void set_ends(const model::TransformerConfig& config, data::PackerOptions& packing) {
  packing.source_end = config.ends_source ? config.eos : -1;
  packing.target_end = config.eos;
  packing.target_start = config.decoder_start;
}

HeldOutText read_held_out(const std::vector<data::CorpusFiles>& files, size_t most) {
  HeldOutText text;
  for (const data::CorpusFiles& set : files) {
    std::vector<data::FileState> states;
    for (const std::string& path : data::paths_of(set)) states.push_back(data::state_of_file(path));
    data::CorpusReader reader = data::open_corpus(set, text::kLongestLine, states);
    for (data::Pair pair; text.sources.size() < most && reader.next(pair);) {
      text.sources.emplace_back(pair.source);
      text.references.emplace_back(pair.target);
    }
  }
  return text;
}

TranslationScores score_translations(const model::ModelFiles& model, const HeldOutText& text,
                                     int beam, int threads) {
  TranslationScores scores;
  HEDDLE_CHECK(!text.sources.empty(), "validation: found no pair of sentences; expected some");
  decode::TranslatorSettings settings;
  settings.threads = threads;
  decode::Options options;
  options.beam = beam;
  const decode::Translator translator(model, settings);
  for (decode::Translation& each : translator.translate(text.sources, options)) {
    scores.hypotheses.push_back(std::move(each.text));
  }
  const std::vector<std::vector<std::string>> references{text.references};
  const auto score = [&](const char* metric) {
    return text::score::score_corpus(*text::score::make_metric(metric), scores.hypotheses,
                                     references)
        .value;
  };
  scores.bleu = score("bleu");
  scores.chrf = score("chrf");
  return scores;
}

}  // namespace heddle::train
