// The paths of the server, and which methods they take.
#pragma once

#include <cstdint>
#include <string_view>

namespace heddle::serve {

enum class Route : uint8_t {
  translate,  ///< POST /v1/translate
  models,
  libre_translate,  ///< POST /translate, as LibreTranslate has it
  libre_languages,
  health,
  ready,
  metrics,
  openapi,
  page,  ///< / and its files
  none,
};

/// `path` as it stands in the request: nothing is decoded, so that one thing has one name.
Route route_of(std::string_view path);

/// For logs and metrics: a fixed set.
std::string_view label_of(Route route);

bool is_post(Route route);

/// Whether a request without an API key is answered.
bool is_public(Route route);

/// Errors in LibreTranslate's form.
inline bool is_libre(Route route) {
  return route == Route::libre_translate || route == Route::libre_languages;
}

}  // namespace heddle::serve
