#include "heddle/serve/listener.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <system_error>

#include "heddle/base/error.h"

namespace heddle::serve {

namespace {

constexpr int kBacklog = 1024;

uint16_t port_of(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  return ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(address).sin6_port
                                             : reinterpret_cast<sockaddr_in&>(address).sin_port);
}

}  // namespace

Listener listen_on(const std::string& host, uint16_t port) {
  addrinfo wanted{};
  wanted.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  wanted.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int failed = ::getaddrinfo(host.c_str(), str(int{port}).c_str(), &wanted, &found);
  HEDDLE_CHECK(failed == 0, "serve: cannot listen on ", host, ": ", ::gai_strerror(failed),
               "; expected an address of this machine");
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(found, &::freeaddrinfo);
  const int socket = ::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  HEDDLE_CHECK(socket >= 0,
               "serve: cannot make a socket: ", std::generic_category().message(errno));
  const int on = 1;
  ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(socket, found->ai_addr, found->ai_addrlen) != 0 || ::listen(socket, kBacklog) != 0) {
    const std::string reason = std::generic_category().message(errno);
    ::close(socket);
    detail::throw_error(str("serve: cannot listen on ", host, ":", int{port}, ": ", reason,
                            "; expected a free address of this machine"));
  }
  return {socket, port_of(socket), found->ai_family == AF_INET6};
}

}  // namespace heddle::serve
