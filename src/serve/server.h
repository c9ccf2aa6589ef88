// Translation over HTTP: a JSON interface, LibreTranslate's, and a page (docs/serve.md).
//
//   Server server(settings);              loads the models, listens
//   … server.url() …
//   server.drain();                       nothing new is taken
//   while (!server.drained()) …
//
// Connections are handled by one thread, texts and models by the workers of each model.
#pragma once

#include <memory>
#include <string>

#include "heddle/serve/settings.h"

namespace heddle::serve {

class Server {
 public:
  /// Throws when a model cannot be loaded, or the address cannot be listened on.
  explicit Server(const ServerSettings& settings);

  /// Cuts what is not answered.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// "http://127.0.0.1:5000"
  const std::string& url() const;

  /// Loads all models anew, soon.
  void reload();

  /// From now on requests are refused; those that have begun are answered.
  void drain();

  /// Whether all are.
  bool drained() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace heddle::serve
