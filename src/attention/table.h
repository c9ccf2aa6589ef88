// The table of implementations: fastest first, the reference last. A new kernel is one folder and
// one row.
#pragma once

#include <span>
#include <string_view>

#include "heddle/attention/attention.h"

namespace heddle::attention {

enum class Pass { forward, backward };

struct Implementation {
  std::string_view name;
  bool (*applies)(const Args& args, Pass pass);
  void (*forward)(const Args& args);
  void (*backward)(const Args& args, const Gradients& gradients);
  /// Whether it should be taken where it applies, unless it is asked for by name; null: yes.
  bool (*pays)(const Args& args, Pass pass) = nullptr;
};

/// All rows, in the order in which they are tried.
std::span<const Implementation> implementations();

/// The row that a call takes; `forced` as in attention.h. Throws when there is none.
const Implementation& implementation_for(const Args& args, Pass pass, std::string_view forced = {});

/// The scale in use: the caller's, or 1 / sqrt(E).
double scale_of(const Args& args);

}  // namespace heddle::attention
