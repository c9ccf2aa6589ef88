// The command `heddle`.
#include "cli/commands.h"

int main(int argc, char** argv) {
  return heddle::cli::run_command_line(argc, argv, [](const heddle::cli::Command& root) {
    heddle::cli::add_mask_command(root);
    heddle::cli::add_demo_command(root);
    heddle::cli::add_bench_command(root);
    heddle::cli::add_model_commands(root);
  });
}
