// A listening socket.
#pragma once

#include <cstdint>
#include <string>

namespace heddle::serve {

struct Listener {
  int socket = -1;
  uint16_t port = 0;
  bool ipv6 = false;
};

/// Throws when the address is not one of this machine, or is taken. `port` 0: any that is free.
Listener listen_on(const std::string& host, uint16_t port);

}  // namespace heddle::serve
