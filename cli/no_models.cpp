// A build of masks and attention alone has no commands that read models.
#include "cli/commands.h"

namespace heddle::cli {

void add_model_commands(const Command&) {}

}  // namespace heddle::cli
