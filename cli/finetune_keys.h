// The keys of `heddle finetune`: names of Hugging Face's trainer, of LLaMA-Factory and of PEFT.
#pragma once

#include "cli/keys.h"

namespace heddle::cli {

const KeyTable& finetune_table();

}  // namespace heddle::cli
