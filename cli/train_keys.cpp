#include "cli/train_keys.h"

namespace heddle::cli {

using enum KeyKind;

namespace {

const std::vector<Key>& text_keys() {
  static const std::vector<Key> keys{
      {"output_dir", text, "", "folder of checkpoints, log and the finished model"},
      {"train_file", texts, "",
       "TSV or jsonl files, or one of sources and one of targets; .zst, .gz"},
      {"train_target_file", texts, "", "the targets, when train_file holds only sources"},
      {"validation_file", texts, "", "as train_file"},
      {"validation_target_file", texts, "", "as train_target_file"},
      {"source_column", integer, "1", "of a TSV"},
      {"target_column", integer, "2", "of a TSV"},
      {"weight_column", integer, "0", "of a TSV; 0: all pairs weigh 1"},
      {"source_field", text, "source", "of jsonl; translation.en reaches into an object"},
      {"target_field", text, "target", "of jsonl"},
      {"weight_field", text, "", "of jsonl; empty: all pairs weigh 1"},
      {"vocab", texts, "", "SentencePiece model: one for both sides, or source and target"},
      {"cache_dir", text, "", "folder of tokenised text; empty: cache in output_dir"},
      {"max_source_length", integer, "256", "tokens; longer pairs are left out"},
      {"max_target_length", integer, "256", "tokens"},
      {"model_name_or_path", text, "", "a model to go on from; else a new one is made"},
  };
  return keys;
}

const std::vector<Key>& run_keys() {
  static const std::vector<Key> keys{
      {"max_steps", integer, "0", "updates; 0: no end by them"},
      {"num_train_epochs", integer, "0", "0: no end by them"},
      {"max_tokens_per_batch", integer, "4096", "of either side, in one packed batch"},
      {"gradient_accumulation_steps", integer, "1", "batches an update"},
      {"shuffle_window", integer, "16384", "pairs sorted by length together"},
      {"learning_rate", number, "5e-4", "the highest of the schedule"},
      {"lr_scheduler_type", text, "inverse_sqrt", "constant, linear, cosine or inverse_sqrt"},
      {"warmup_steps", integer, "4000", "updates until the highest rate"},
      {"min_learning_rate", number, "0", "at the end of linear and cosine"},
      {"weight_decay", number, "0", "decoupled; biases and norms are spared"},
      {"adam_beta1", number, "0.9", ""},
      {"adam_beta2", number, "0.98", ""},
      {"adam_epsilon", number, "1e-9", ""},
      {"max_grad_norm", number, "1", "0: no clipping"},
      {"skip_loss_spikes", boolean, "false",
       "no update at five deviations above the last hundred losses or norms; logged either way"},
      {"optim_bits", integer, "32", "of the optimiser's moments: 32 or 8"},
      {"quantize_bits", integer, "0", "8: learn to be int8, as heddle quantize makes it; 0: not"},
      {"ema_decay", number, "0", "of an average of the weights, which is what is kept; 0: none"},
      {"label_smoothing_factor", number, "0.1", ""},
      {"dropout", number, "0.1", "of embeddings and of each sublayer's result"},
      {"activation_dropout", number, "0", "inside the feed-forward layers"},
      {"teacher_model", texts, "", "learn from its choices at each word too; several: their mean"},
      {"teacher_weight", number, "0.5", "of these choices; the labels have the rest"},
      {"teacher_top_k", integer, "8", "tokens of each choice, at most 64"},
      {"z_loss", number, "0", "weight of (ln Z)²"},
      {"seed", integer, "1", "of weights, order and dropout"},
      {"gradient_checkpointing", boolean, "false", "keep each layer's input alone: less memory"},

      {"logging_steps", integer, "50", "updates between two lines of the log"},
      {"eval_steps", integer, "1000", "updates between two validations; 0: none"},
      {"save_steps", integer, "1000", "updates between two checkpoints"},
      {"save_total_limit", integer, "3", "checkpoints kept, at least 2; 0: all"},
      {"eval_translate_lines", integer, "500", "validation lines translated for BLEU; 0: none"},
      {"num_beams", integer, "1", "of these translations"},
      {"early_stopping_patience", integer, "0", "validations without a gain; 0: no such end"},
      {"resume_from_checkpoint", text, "auto", "auto: from the newest in output_dir; no: refuse"},
      {"report_to", text, "tensorboard", "tensorboard: events in output_dir/runs; none"},
      {"device", text, "auto", "cpu, in f32; cuda, in bf16 with f32 masters; auto: cuda if there"},
      {"threads", integer, "0", "0: one a processor"},
      {"workers", integer, "0", "parts a batch is summed in; 0: as many as threads"},
  };
  return keys;
}

}  // namespace

const std::vector<Key>& model_keys() {
  static const std::vector<Key> keys{
      {"d_model", integer, "512", "width"},
      {"encoder_layers", integer, "6", ""},
      {"decoder_layers", integer, "6", ""},
      {"encoder_attention_heads", integer, "8", ""},
      {"decoder_attention_heads", integer, "8", ""},
      {"encoder_key_value_heads", integer, "", "default: as many as heads"},
      {"decoder_key_value_heads", integer, "", "default: as many as heads"},
      {"head_dim", integer, "", "default: d_model / heads"},
      {"encoder_ffn_dim", integer, "2048", ""},
      {"decoder_ffn_dim", integer, "2048", ""},
      {"decoder_type", text, "self_attention", "self_attention or ssru"},
      {"activation_function", text, "relu", "relu, gelu, gelu_new, quick_gelu or silu"},
      {"gated_ffn", boolean, "false", ""},
      {"normalize_before", boolean, "false", "norm before each sublayer, as deep models need"},
      {"add_final_layer_norm", boolean, "", "behind the last layer; default: as normalize_before"},
      {"normalize_embedding", boolean, "false", ""},
      {"norm_type", text, "layer_norm", "layer_norm or rms_norm"},
      {"layer_norm_eps", number, "1e-5", ""},
      {"attention_bias", boolean, "true", ""},
      {"mlp_bias", boolean, "true", ""},
      {"output_bias", boolean, "true", ""},
      {"share_encoder_decoder_embeddings", boolean, "", "default: with one vocabulary"},
      {"tie_word_embeddings", boolean, "true", "target and output embeddings are one"},
      {"scale_embedding", boolean, "true", "times the root of d_model"},
      {"position_embedding_type", text, "sinusoidal",
       "none, sinusoidal, sinusoidal_marian, learned or rotary"},
      {"rope_theta", number, "10000", "of rotary positions"},
      {"max_position_embeddings", integer, "512", "longest sentence, tokens"},
  };
  return keys;
}

const KeyTable& train_table() {
  static const KeyTable table("train", {&text_keys(), &run_keys(), &model_keys()});
  return table;
}

}  // namespace heddle::cli
