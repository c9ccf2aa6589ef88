// The builders of masks as commands: one row of a table for each.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cli/command_line.h"
#include "heddle/mask/mask.h"

namespace heddle::cli {

/// Every option that some builder takes; each fills in what was not given.
struct BuilderOptions {
  std::optional<int64_t> length, query_length, key_length, offset, valid;
  std::optional<int64_t> window, left, right, globals, prefix, image, budget;
  std::optional<std::string> parts;  ///< lengths, groups, buckets, … as the builder calls them
  std::optional<std::string> query_lengths, key_lengths;
  int64_t count = 8;
  int64_t seed = 1;
  int64_t heads = 1;
  bool causal = false;
};

struct BuiltMask {
  ColumnMask mask;
  std::vector<std::string> notes;  ///< what was chosen for the user, one line each
};

struct Builder {
  const char* name;
  const char* description;
  const char* example;  ///< arguments after `heddle mask <name>`
  void (*add_options)(const Command&, BuilderOptions&);
  BuiltMask (*build)(const BuilderOptions&);
};

std::span<const Builder> builders();

}  // namespace heddle::cli
