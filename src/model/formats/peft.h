// Adapter directories as PEFT has them: adapter_config.json and adapter_model.safetensors.
#pragma once

#include <string>

#include "heddle/io/file_operations.h"
#include "heddle/model/lora.h"

namespace heddle::model {

/// Whether the path is a directory with an adapter_config.json.
bool is_adapter(const std::string& path);

/// The model that an adapter says it belongs to: base_model_name_or_path, or "".
std::string base_of_adapter(const std::string& folder);

/// Its model as the adapter wants it: a reward model where task_type is SEQ_CLS, the score being
/// among what the adapter has.
ModelFiles base_for(const std::string& folder, ModelFiles model);

/// The adapter for a model of this config. Throws for what changes a model in ways that are not
/// known here (other kinds of adapters, patterns of ranks, biases, …).
Adapter load_adapter(const std::string& folder, const TransformerConfig& config);

/// Each file is replaced as a whole, the config last.
void save_adapter(const Adapter& adapter, const TransformerConfig& config,
                  const std::string& folder, io::FileOperations& files = io::system_files());

}  // namespace heddle::model
