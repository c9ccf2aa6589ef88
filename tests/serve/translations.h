// Translations as tests make them.
#pragma once

#include <string>
#include <utility>

#include "heddle/decode/translator.h"

namespace heddle::serve {

inline decode::Translation translation_of(std::string text) {
  decode::Translation translation;
  translation.text = std::move(text);
  return translation;
}

}  // namespace heddle::serve
