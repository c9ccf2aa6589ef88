#include "cli/finetune_keys.h"

namespace heddle::cli {

namespace {

using enum KeyKind;

const std::vector<Key>& data_keys() {
  static const std::vector<Key> keys{
      {"model_name_or_path", text, "", "Hugging Face directory or GGUF file", "model"},
      {"dataset", texts, "", "conversations, or ranked answers: .jsonl, plain, .zst or .gz"},
      {"eval_dataset", texts, "", "as dataset; validations tell the loss of it"},
      {"val_size", number, "0", "without eval_dataset: so many last examples, or a share below 1"},
      {"dataset_format", text, "auto",
       "auto, messages, sharegpt, alpaca, prompt_completion or text"},
      {"template", text, "", "chat template by its name; otherwise the model's own",
       "chat_template"},
      {"train_on", text, "auto", "what is learned: auto, completion, assistant, last or all"},
      {"train_on_eos", text, "turn", "ends of turns that are learned: turn, last, none or all"},
      {"split_special_tokens", boolean, "true", "false: raw text may spell control tokens"},
      {"cutoff_len", integer, "2048", "longest example, tokens", "max_length max_seq_length"},
      {"excess_length_strategy", text, "drop", "longer examples: drop, truncate or raise"},
      {"on_bad_line", text, "raise", "lines that cannot be used: raise or skip"},
      {"packing", boolean, "true", "several examples a row, which do not see each other"},
      {"packing_length", integer, "",
       "tokens of a row; default: cutoff_len, and twice that for a question with its answers"},
      {"shuffle_window", integer, "16384", "examples packed together"},
      {"cache_dir", text, "", "folder of tokenised text; empty: cache in output_dir"},
      {"output_dir", text, "", "folder of checkpoints, log and the finished adapter or model"},
  };
  return keys;
}

const std::vector<Key>& method_keys() {
  static const std::vector<Key> keys{
      {"stage", text, "sft", "sft, dpo, or rm: a reward model", "rl"},
      {"finetuning_type", text, "lora", "lora, or full: all weights"},
      {"adapter_name_or_path", text, "", "an adapter to go on from"},
      {"lora_rank", integer, "8", "", "r lora_r"},
      {"lora_alpha", number, "", "default: 2 · lora_rank"},
      {"lora_dropout", number, "0", ""},
      {"lora_target", texts, "", "q_proj, …; all or all-linear, the default: every linear layer",
       "target_modules lora_target_modules"},
      {"modules_to_save", texts, "", "trained as a whole: embed_tokens, lm_head, norm, …",
       "additional_target"},
      {"use_rslora", boolean, "false", "scale by alpha / √rank"},
      {"use_dora", boolean, "false", "lengths of the weights' rows apart"},
  };
  return keys;
}

const std::vector<Key>& preference_keys() {
  static const std::vector<Key> keys{
      {"loss_type", text, "sigmoid", "dpo: sigmoid, sigmoid_norm, robust, ipo or hinge",
       "pref_loss dpo_loss_type"},
      {"beta", number, "0.1", "dpo: how near to the reference", "pref_beta dpo_beta rl_beta"},
      {"label_smoothing", number, "0", "dpo: share of pairs that are ranked the wrong way",
       "dpo_label_smoothing"},
      {"rpo_alpha", number, "0", "dpo: weight of the SFT term, -ln p a token of the better answer",
       "pref_ftx"},
      {"reference_free", boolean, "false", "dpo: no reference"},
      {"ref_model", text, "", "dpo: the reference; default: the model as the run begins",
       "ref_model_name_or_path"},
      {"precompute_ref_log_probs", boolean, "false",
       "dpo: ask the reference once, before the first step, and keep what it says in cache_dir"},
      {"center_rewards_coefficient", number, "0", "rm: pulls the mean reward to 0; such as 0.01"},
      {"share_question", boolean, "true",
       "false: the question before each answer; the same results, slower"},
  };
  return keys;
}

const std::vector<Key>& run_keys() {
  static const std::vector<Key> keys{
      {"max_steps", integer, "0", "updates; 0: by num_train_epochs"},
      {"num_train_epochs", number, "3", "may be a fraction"},
      {"per_device_train_batch_size", integer, "1", "packed rows in one batch"},
      {"gradient_accumulation_steps", integer, "1", "batches an update; each token weighs alike"},
      {"learning_rate", number, "",
       "the highest; default: sft 1e-4, dpo 5e-6, rm 1e-4; for all weights 2e-5, 1e-6, 1e-5"},
      {"lr_scheduler_type", text, "linear", "constant, linear, cosine or inverse_sqrt"},
      {"warmup_steps", integer, "0", "updates until the highest rate"},
      {"warmup_ratio", number, "0", "the same as a share of all updates"},
      {"min_learning_rate", number, "0", "at the end of linear and cosine"},
      {"weight_decay", number, "0", "decoupled; biases and norms are spared"},
      {"adam_beta1", number, "0.9", ""},
      {"adam_beta2", number, "0.999", ""},
      {"adam_epsilon", number, "1e-8", ""},
      {"max_grad_norm", number, "1", "0: no clipping"},
      {"skip_loss_spikes", boolean, "false",
       "no update at five deviations above the last hundred losses or norms; logged either way"},
      {"optim_bits", integer, "32", "of the optimiser's moments: 32 or 8"},
      {"label_smoothing_factor", number, "0", ""},
      {"seed", integer, "42", "of order, dropout and new adapters"},
      {"gradient_checkpointing", boolean, "false", "keep each layer's input alone: less memory"},
      {"bf16", boolean, "false", "for configurations of others: cuda computes in bf16, cpu in f32"},
      {"logging_steps", integer, "10", "updates between two lines of the log"},
      {"eval_steps", integer, "100", "updates between two validations; 0: none"},
      {"save_steps", integer, "500", "updates between two checkpoints"},
      {"save_total_limit", integer, "3", "checkpoints kept, at least 2; 0: all"},
      {"early_stopping_patience", integer, "0", "validations without a gain; 0: no such end"},
      {"resume_from_checkpoint", text, "auto", "auto: from the newest in output_dir; no: refuse"},
      {"report_to", text, "tensorboard", "tensorboard: events in output_dir/runs; none"},
      {"device", text, "auto", "cpu, in f32; cuda, in bf16 with f32 masters; auto: cuda if there"},
      {"threads", integer, "0", "0: one a processor"},
      {"workers", integer, "0", "cpu: parts a batch is summed in; 0: as many as threads"},
      {"max_memory", number, "0", "GiB that the run may take; 0: what the device has free"},
  };
  return keys;
}

}  // namespace

const KeyTable& finetune_table() {
  static const KeyTable table("finetune",
                              {&data_keys(), &method_keys(), &preference_keys(), &run_keys()});
  return table;
}

}  // namespace heddle::cli
