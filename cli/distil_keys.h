// The keys of `heddle distil`.
#pragma once

#include "cli/keys.h"

namespace heddle::cli {

const KeyTable& distil_table();

}  // namespace heddle::cli
