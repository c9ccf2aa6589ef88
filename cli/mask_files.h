// Masks from .npy files, for `heddle mask`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "cli/command_line.h"
#include "cli/mask_builders.h"

namespace heddle::cli {

struct FileOptions {
  std::optional<std::string> startend, dense;
  std::optional<int64_t> query_length;
  bool causal = false;
};

void add_file_options(const Command& command, FileOptions& options);

/// What the report calls such a mask.
std::string title_of(const FileOptions& options);

/// Reads the file that the options name. FlashMask's tensor: int32 or int64 [Sk, n],
/// [heads, Sk, n] or [1, heads, Sk, n]; a dense mask: bool or integer, nonzero = may look, [Tq,
/// Tk], [heads, Tq, Tk] or [1, heads, Tq, Tk].
BuiltMask read_mask(const FileOptions& options);

}  // namespace heddle::cli
