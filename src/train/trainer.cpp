#include "heddle/train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/atomic_file.h"
#include "heddle/io/paths.h"
#include "heddle/io/safetensors.h"
#include "heddle/train/batch_ahead.h"
#include "heddle/train/checkpoint.h"
#include "heddle/train/event_file.h"
#include "heddle/train/folder_lock.h"
#include "heddle/train/optimizer.h"
#include "heddle/train/run_log.h"

namespace heddle::train {

namespace {

using Clock = std::chrono::steady_clock;

/// PyTorch's clip_grad_norm_ has the same.
constexpr double kClipEpsilon = 1e-6;

io::Value list_of(const std::vector<uint64_t>& pairs) {
  io::Value::List ids;
  for (const uint64_t pair : pairs) ids.emplace_back(static_cast<int64_t>(pair));
  return ids;
}

/// Four digits.
std::string brief(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

std::vector<std::pair<std::string, double>> figures_of(const Trainable& model,
                                                       const LossSums& sums) {
  std::vector<std::pair<std::string, double>> figures;
  for (const std::string_view name : model.figures()) {
    const double sum = sums.figures[figures.size()];
    figures.emplace_back(name, sum / std::max(sums.weight, 1e-30));
  }
  return figures;
}

class Training {
 public:
  Training(Trainable& model, const BatchSource& source, const BatchSource* validation,
           const TrainerSettings& settings, const TrainerHooks& hooks)
      : model_(model),
        source_(source),
        validation_(validation),
        settings_(settings),
        hooks_(hooks),
        files_(hooks.files != nullptr ? *hooks.files : io::system_files()),
        lock_(settings.output_dir),
        checkpoints_(settings.output_dir, settings.save_total_limit, files_),
        optimizer_(model.optimizer(settings.optimizer, hooks.threads)),
        fixed_(fixed_settings(settings, source)) {}

  TrainerResult run() {
    if (settings_.resume) resume();
    batches_ = std::make_unique<BatchAhead>(source_, state_.position, model_);
    log_ = std::make_unique<RunLog>(io::join_path(settings_.output_dir, "log.jsonl"), state_.step);
    if (!settings_.event_folder.empty()) {
      events_ = std::make_unique<EventFile>(settings_.event_folder, state_.step);
    }
    saved_step_ = state_.step;
    start_interval();
    std::optional<End> end = reached_end();
    while (!end) {
      if (step()) {
        if (state_.step % settings_.logging_steps == 0) report();
        if (settings_.eval_steps > 0 && state_.step % settings_.eval_steps == 0) evaluate();
      }
      end = reached_end();
      if (!end && state_.step % settings_.save_steps == 0) save(false);
    }
    if (*end != End::stopped && state_.interval.tokens > 0) report();  // the last steps
    if (saved_step_ != state_.step) save(true);
    swap_average();
    return {state_, *end};
  }

 private:
  void resume();
  std::optional<End> reached_end() const;
  bool step();
  LossSums accumulate(std::vector<uint64_t>& pairs);
  bool spikes(const LossSums& sums, double norm, const std::vector<uint64_t>& pairs);
  void skip(const LossSums& sums, double norm, const std::vector<uint64_t>& pairs);
  void report();
  void evaluate();
  void save(bool must);
  void write(const io::Value& record) {
    log_->add(record);
    if (events_) events_->add(record);
  }
  void swap_average() {
    if (!optimizer_->has_average()) return;
    optimizer_->swap_average();
    model_.values_changed();
  }
  void start_interval() {
    interval_start_ = Clock::now();
    interval_tokens_ = interval_flops_ = 0;
    interval_first_ = state_.step;
  }
  void warn(const std::string& text) const {
    if (hooks_.warn) hooks_.warn(text);
  }

  Trainable& model_;
  const BatchSource& source_;
  const BatchSource* const validation_;
  const TrainerSettings& settings_;
  const TrainerHooks& hooks_;
  io::FileOperations& files_;
  FolderLock lock_;
  Checkpoints checkpoints_;
  std::unique_ptr<Optimizer> optimizer_;
  io::Value fixed_;
  TrainerState state_;
  std::unique_ptr<BatchAhead> batches_;
  std::unique_ptr<RunLog> log_;
  std::unique_ptr<EventFile> events_;
  double last_norm_ = 0;
  int64_t saved_step_ = 0;
  // What was done since the clock was started: by this process, without validations.
  Clock::time_point interval_start_;
  double interval_tokens_ = 0, interval_flops_ = 0;
  int64_t interval_first_ = 0;
};

void Training::resume() {
  std::vector<std::string> damaged;
  const auto found = checkpoints_.newest(damaged);
  for (const std::string& text : damaged) warn(text);
  if (!found) return;
  const io::Field state(found->manifest.state, io::join_path(found->path, kManifest));
  std::string changes;
  for (const std::string& line : differences(state["fixed"].value(), fixed_)) {
    changes += "\n  " + line;
  }
  HEDDLE_CHECK(changes.empty(), "train: ", found->path,
               " was made with other settings; expected the same, or another output_dir:", changes);
  state_ = state_of(state["trainer"]);
  model_.load(found->path);
  optimizer_->load(io::join_path(found->path, "optimizer.safetensors"));
  model_.values_changed();
}

std::optional<End> Training::reached_end() const {
  if (settings_.max_steps > 0 && state_.step >= settings_.max_steps) return End::steps;
  if (settings_.max_epochs > 0 &&
      std::cmp_greater_equal(state_.position.epoch, settings_.max_epochs)) {
    return End::epochs;
  }
  if (settings_.early_stopping_patience > 0 &&
      state_.evaluations_without_gain >= settings_.early_stopping_patience) {
    return End::patience;
  }
  if (hooks_.stop_requested && hooks_.stop_requested()) return End::stopped;
  return {};
}

LossSums Training::accumulate(std::vector<uint64_t>& pairs) {
  LossSums sums;
  LossSettings settings = settings_.loss;
  settings.step = static_cast<uint64_t>(state_.step + 1);
  settings.gradient_scale = 1;
  settings.first_row = 0;
  const auto last_epoch_ended = [this] {
    return settings_.max_epochs > 0 &&
           std::cmp_greater_equal(batches_->position().epoch, settings_.max_epochs);
  };
  for (int i = 0; i < settings_.accumulation; ++i) {
    const data::PackedBatch* batch = batches_->next();
    if (batch == nullptr && last_epoch_ended()) break;
    while (batch == nullptr) batch = batches_->next();
    sums += model_.forward_backward(*batch, settings);
    interval_flops_ += model_.flops(*batch);
    settings.first_row += std::max(batch->sources.size(), batch->targets.size());
    pairs.insert(pairs.end(), batch->pairs.begin(), batch->pairs.end());
  }
  return sums;
}

/// False when no data was left for a step.
bool Training::step() {
  std::vector<uint64_t> pairs;
  model_.zero_gradients();
  const LossSums sums = accumulate(pairs);
  state_.position = batches_->position();
  if (pairs.empty()) return false;
  const int64_t number = state_.step + 1;
  const double norm = sums.weight > 0 ? optimizer_->gradient_norm() / sums.weight : 0;
  if (!std::isfinite(norm) || !std::isfinite(sums.loss) || !std::isfinite(sums.weight)) {
    skip(sums, norm, pairs);
  } else {
    state_.skipped_in_row = 0;
    const bool skips = spikes(sums, norm, pairs) && settings_.skips_spikes;
    state_.skipped += skips ? 1 : 0;
    if (sums.weight > 0 && !skips) {  // a batch of ignored labels teaches nothing
      const double clip = settings_.max_grad_norm > 0
                              ? std::min(1.0, settings_.max_grad_norm / (norm + kClipEpsilon))
                              : 1.0;
      optimizer_->update(number, settings_.schedule.rate(number), clip / sums.weight);
      model_.values_changed();
    }
    state_.interval += sums;
    last_norm_ = norm;
  }
  state_.step = number;
  state_.tokens += sums.tokens;
  interval_tokens_ += static_cast<double>(sums.tokens);
  return true;
}

/// Whether the step falls out of the row of the last ones; on record if so.
bool Training::spikes(const LossSums& sums, double norm, const std::vector<uint64_t>& pairs) {
  if (sums.weight <= 0) return false;
  const double loss = sums.loss / sums.weight;
  const bool found = loss > state_.loss.limit() || norm > state_.norm.limit();
  if (found) {
    const int64_t number = state_.step + 1;
    const char* action = settings_.skips_spikes ? "skipped" : "none";
    io::Value record;
    record.set("step", number);
    record.set("event", "spike");
    record.set("action", action);
    record.set("loss", loss);
    record.set("usual_loss", state_.loss.mean);
    record.set("grad_norm", norm);
    record.set("usual_grad_norm", state_.norm.mean);
    record.set("pairs", list_of(pairs));
    write(record);
    // A norm alone is often a batch of few long sentences: for the log.
    if (settings_.skips_spikes || loss > state_.loss.limit()) {
      warn(str("step ", number, ": loss ", brief(loss), " and gradient norm ", brief(norm),
               "; usual were ", brief(state_.loss.mean), " and ", brief(state_.norm.mean),
               settings_.skips_spikes ? "; the update is left out" : ""));
    }
  }
  state_.loss.add(loss);
  state_.norm.add(norm);
  return found;
}

void Training::skip(const LossSums& sums, double norm, const std::vector<uint64_t>& pairs) {
  ++state_.skipped;
  ++state_.skipped_in_row;
  const std::string parameter = optimizer_->first_not_finite();
  const int64_t number = state_.step + 1;
  io::Value record;
  record.set("step", number);
  record.set("event", "skipped");
  record.set("loss", str(sums.loss));
  record.set("grad_norm", str(norm));
  record.set("first_not_finite", parameter);
  record.set("pairs", list_of(pairs));
  write(record);
  warn(str("step ", number, " is skipped: loss ", sums.loss, ", gradient norm ", norm,
           parameter.empty() ? "" : ", first in " + parameter));
  HEDDLE_CHECK(state_.skipped_in_row < settings_.most_skipped_in_row,
               "train: ", state_.skipped_in_row,
               " steps in a row without a finite gradient, the last ", number,
               parameter.empty() ? "" : " in " + parameter,
               "; the newest checkpoint stays as it is (lower the learning rate?)");
}

void Training::report() {
  const double seconds =
      std::max(1e-9, std::chrono::duration<double>(Clock::now() - interval_start_).count());
  const LossSums& sums = state_.interval;
  const double weight = std::max(sums.weight, 1e-30);
  const auto tokens = static_cast<double>(sums.tokens);
  Report made;
  made.step = state_.step;
  made.epoch = static_cast<double>(state_.position.epoch) + batches_->progress();
  made.loss = sums.loss / weight;
  made.nll = sums.nll / weight;
  made.accuracy = tokens > 0 ? static_cast<double>(sums.correct) / tokens : 0;
  made.learning_rate = settings_.schedule.rate(state_.step);
  made.grad_norm = last_norm_;
  made.tokens = state_.tokens;
  made.skipped = state_.skipped;
  made.tokens_per_second = interval_tokens_ / seconds;
  made.flops_per_second = interval_flops_ / seconds;
  if (settings_.peak_flops > 0) made.mfu = made.flops_per_second / settings_.peak_flops;
  if (settings_.max_steps > 0 && state_.step > interval_first_) {
    made.seconds_left = seconds / static_cast<double>(state_.step - interval_first_) *
                        static_cast<double>(settings_.max_steps - state_.step);
  }
  made.figures = figures_of(model_, sums);
  io::Value record;
  record.set("step", made.step);
  record.set("epoch", made.epoch);
  record.set("loss", made.loss);
  if (made.figures.empty()) record.set("nll", made.nll);
  if (made.figures.empty() || sums.correct > 0) record.set("mean_token_accuracy", made.accuracy);
  for (const auto& [name, value] : made.figures) record.set(name, value);
  record.set("learning_rate", made.learning_rate);
  record.set("grad_norm", made.grad_norm);
  record.set("num_tokens", made.tokens);
  record.set("skipped", made.skipped);
  record.set("tokens_per_second", made.tokens_per_second);
  if (made.flops_per_second > 0) record.set("flops_per_second", made.flops_per_second);
  if (made.mfu > 0) record.set("mfu", made.mfu);
  write(record);
  if (hooks_.report) hooks_.report(made);
  state_.interval = {};
  start_interval();
}

void Training::evaluate() {
  if (validation_ == nullptr && !hooks_.evaluate) return;
  swap_average();
  io::Value record;
  record.set("step", state_.step);
  record.set("event", "evaluation");
  bool gain = false;
  const Clock::time_point before = Clock::now();
  if (validation_ != nullptr) {
    const auto stream = validation_->open({});
    LossSettings plain;
    LossSums sums;
    for (data::PackedBatch batch; stream->next(batch);) sums += model_.loss(batch, plain);
    const double loss = sums.nll / std::max(sums.weight, 1e-30);
    record.set("eval_loss", std::isfinite(loss) ? io::Value(loss) : io::Value(str(loss)));
    const auto figures = figures_of(model_, sums);
    if (figures.empty() && loss < 50) record.set("eval_perplexity", std::exp(loss));
    for (const auto& [name, value] : figures) record.set("eval_" + name, value);
    gain = std::isfinite(loss) && (state_.best_step == 0 || loss < state_.best_loss);
    if (gain) state_.best_loss = loss, state_.best_step = state_.step;
    state_.evaluations_without_gain = gain ? 0 : state_.evaluations_without_gain + 1;
  }
  if (hooks_.evaluate) record.set("metrics", hooks_.evaluate(state_.step));
  if (hooks_.evaluated) hooks_.evaluated(record, gain);
  swap_average();
  write(record);
  interval_start_ += Clock::now() - before;
}

/// A checkpoint that fails does not end a training that goes on: the next may succeed. At the end
/// the failure is the run's own.
void Training::save(bool must) {
  io::Value state;
  state.set("trainer", to_value(state_));
  state.set("fixed", fixed_);
  const int64_t copies = optimizer_->has_average() ? 4 : 3;
  const auto write = [this](const std::string& folder, io::FileOperations& files) {
    model_.save(folder, files);
    io::write_safetensors(io::join_path(folder, "optimizer.safetensors"), optimizer_->state(), {},
                          files);
  };
  try {
    const auto warnings =
        checkpoints_.save({{state_.step, state}, 4 * copies * model_.parameters(), write});
    saved_step_ = state_.step;
    for (const std::string& text : warnings) warn(text);
  } catch (const Error& error) {
    if (must) throw;
    warn(str("no checkpoint at step ", state_.step, ": ", error.what()));
  }
}

}  // namespace

TrainerResult train(Trainable& model, const BatchSource& batches, const BatchSource* validation,
                    const TrainerSettings& settings, const TrainerHooks& hooks) {
  settings.check();
  io::make_folder(settings.output_dir);
  return Training(model, batches, validation, settings, hooks).run();
}

TrainerResult train(Trainable& model, const data::TokenPairs& pairs,
                    const data::TokenPairs& validation, const TrainerSettings& settings,
                    const TrainerHooks& hooks) {
  data::PackerOptions as_they_come = settings.packing;
  as_they_come.shuffle = false;
  const PairBatches batches(pairs, settings.packing), judged(validation, as_they_come);
  return train(model, batches, judged.empty() ? nullptr : &judged, settings, hooks);
}

}  // namespace heddle::train
