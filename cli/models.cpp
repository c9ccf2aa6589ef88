// The subcommands that read models or text.
#include "cli/commands.h"

namespace heddle::cli {

void add_model_commands(const Command&) {}

}  // namespace heddle::cli
