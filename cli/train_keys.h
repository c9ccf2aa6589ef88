// The keys of `heddle train`.
#pragma once

#include <vector>

#include "cli/keys.h"

namespace heddle::cli {

/// Keys of the run, then those of the model's config.json.
const std::vector<Key>& train_keys();
const std::vector<Key>& model_keys();
const KeyTable& train_table();

}  // namespace heddle::cli
