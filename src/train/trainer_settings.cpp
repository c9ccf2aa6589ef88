#include "heddle/base/error.h"
#include "heddle/train/trainer.h"

namespace heddle::train {

void TrainerSettings::check() const {
  schedule.check();
  optimizer.check();
  HEDDLE_CHECK(!output_dir.empty(), "output_dir: expected a folder for checkpoints and log");
  HEDDLE_CHECK(max_steps > 0 || max_epochs > 0,
               "train: expected an end: max_steps or num_train_epochs");
  HEDDLE_CHECK(accumulation >= 1 && logging_steps >= 1 && save_steps >= 1 && eval_steps >= 0,
               "train: found gradient_accumulation_steps ", accumulation, ", logging_steps ",
               logging_steps, ", save_steps ", save_steps, ", eval_steps ", eval_steps,
               "; expected at least 1 (eval_steps 0: never)");
  HEDDLE_CHECK(
      save_total_limit == 0 || save_total_limit >= 2, "save_total_limit: found ", save_total_limit,
      "; expected at least 2, so that one is whole while another is damaged, or 0 for all");
  HEDDLE_CHECK(max_grad_norm >= 0, "max_grad_norm: found ", max_grad_norm);
}

io::Value fixed_settings(const TrainerSettings& settings, const BatchSource& batches) {
  io::Value fixed = settings.fixed;
  const Schedule& schedule = settings.schedule;
  fixed.set("lr_scheduler_type", std::string(name_of(schedule.curve)));
  fixed.set("learning_rate", schedule.peak);
  fixed.set("warmup_steps", schedule.warmup_steps);
  fixed.set("least_learning_rate", schedule.least);
  if (schedule.curve == Curve::linear || schedule.curve == Curve::cosine) {
    fixed.set("last_step", schedule.last_step);
  }
  fixed.set("adam_beta1", settings.optimizer.beta1);
  fixed.set("adam_beta2", settings.optimizer.beta2);
  fixed.set("adam_epsilon", settings.optimizer.epsilon);
  fixed.set("weight_decay", settings.optimizer.weight_decay);
  fixed.set("state_bits", settings.optimizer.state_bits);
  fixed.set("ema_decay", settings.optimizer.ema_decay);
  fixed.set("gradient_accumulation_steps", settings.accumulation);
  fixed.set("max_grad_norm", settings.max_grad_norm);
  if (settings.skips_spikes) fixed.set("skip_loss_spikes", true);
  batches.describe(fixed);
  fixed.set("seed", io::Value(static_cast<int64_t>(settings.loss.seed)));
  fixed.set("label_smoothing", settings.loss.label_smoothing);
  fixed.set("dropout", settings.loss.dropout);
  fixed.set("activation_dropout", settings.loss.activation_dropout);
  fixed.set("teacher_weight", settings.loss.teacher_weight);
  fixed.set("z_loss", settings.loss.z_loss);
  return fixed;
}

}  // namespace heddle::train
