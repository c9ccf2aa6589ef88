// The subcommands of heddle, one file each.
#pragma once

#include "cli/command_line.h"

namespace heddle::cli {

void add_mask_command(const Command& parent);
void add_demo_command(const Command& parent);
void add_bench_command(const Command& parent);
void add_translate_command(const Command& parent);
void add_generate_command(const Command& parent);
void add_convert_command(const Command& parent);
void add_quantize_command(const Command& parent);
void add_inspect_command(const Command& parent);
void add_evaluate_command(const Command& parent);
void add_serve_command(const Command& parent);
void add_vocab_command(const Command& parent);
void add_train_command(const Command& parent);
void add_distil_command(const Command& parent);
void add_finetune_command(const Command& parent);
void add_score_command(const Command& parent);
void add_merge_command(const Command& parent);
void add_plot_command(const Command& parent);
void add_data_command(const Command& parent);

/// Everything that reads a model; nothing in a build of masks and attention alone.
void add_model_commands(const Command& parent);

}  // namespace heddle::cli
