// The subcommands that read models or text.
#include "cli/commands.h"

namespace heddle::cli {

void add_model_commands(const Command& parent) {
  add_convert_command(parent);
  add_quantize_command(parent);
  add_inspect_command(parent);
  add_translate_command(parent);
  add_generate_command(parent);
  add_serve_command(parent);
  add_evaluate_command(parent);
  add_vocab_command(parent);
  add_data_command(parent);
  add_train_command(parent);
  add_distil_command(parent);
  add_finetune_command(parent);
  add_score_command(parent);
  add_merge_command(parent);
  add_plot_command(parent);
}

}  // namespace heddle::cli
