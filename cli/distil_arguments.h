// Keys as the arguments of a command, for the stages of `heddle distil`.
#pragma once

#include <string>
#include <vector>

#include "cli/stages.h"
#include "heddle/io/value.h"

namespace heddle::cli {

using Arguments = std::vector<std::string>;

/// A value as a flag takes it.
std::string text_of(const io::Value& value);

/// --key value for each key.
void append_keys(Arguments& arguments, const io::Value& keys);

/// Whether heddle train has the key for the architecture, not for the run.
bool is_model_key(const std::string& name);

/// Throws unless a name can be a folder's and a stage's too.
void check_name(const std::string& name, const std::string& place);

/// Sets keys of heddle train in `onto`; throws for those that the distillation sets.
void take_training_keys(const io::Field& given, io::Value& onto);

/// heddle train on this text, its model in `folder`.
Stage training_stage(const std::string& name, const std::string& folder, const Arguments& text);

}  // namespace heddle::cli
