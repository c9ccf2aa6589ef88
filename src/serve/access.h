// Who may ask, and from where.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "heddle/serve/settings.h"

namespace heddle::serve {

/// The time depends on the length of `given` alone.
bool equal_in_constant_time(std::string_view given, std::string_view expected);

/// Index of the key among those that are known; all are compared.
std::optional<size_t> find_key(const std::vector<std::string>& keys, std::string_view given);

/// Whether a Host header names this server. On a loopback address only the loopback's names and
/// those of the settings do: else a page elsewhere could make a browser ask in its own name.
bool host_allowed(const ServerSettings& settings, std::string_view host);

bool is_loopback(std::string_view address);

/// What Access-Control-Allow-Origin says; empty: nothing.
std::string allowed_origin(const ServerSettings& settings, std::string_view origin);

}  // namespace heddle::serve
