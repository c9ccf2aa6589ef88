// The keys of `heddle train`.
#pragma once

#include <vector>

#include "cli/keys.h"

namespace heddle::cli {

/// Those of the model's config.json.
const std::vector<Key>& model_keys();

/// Keys of the text and the run, then those of the model.
const KeyTable& train_table();

}  // namespace heddle::cli
