// A build without libmicrohttpd has no server, and says so.
#include "cli/commands.h"
#include "heddle/base/error.h"

namespace heddle::cli {

void add_serve_command(const Command& parent) {
  const Command command = parent.add_command("serve", "Translates over HTTP (not in this build)");
  command.run([] {
    detail::throw_error(
        "serve: this build has no server; expected one with libmicrohttpd. Install "
        "libmicrohttpd-dev and build again");
  });
}

}  // namespace heddle::cli
