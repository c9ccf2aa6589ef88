// File operations that fail, stop, or are remembered, at the N-th of them.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "heddle/io/file_operations.h"

namespace heddle::testing {

/// Those of the system, but for waiting for the disk: for tests of what is in the files.
class UnsyncedFiles : public io::FileOperations {
 public:
  int sync(int) override { return 0; }
  int sync_folder(const std::string&) override { return 0; }
};

/// What a killed process throws: nothing may be done after it, not even cleaning up.
struct Killed {};

enum class Fault { none, kill, fail, short_write };

class FaultyFiles : public UnsyncedFiles {
 public:
  Fault fault = Fault::none;
  int error = EIO;
  int64_t at = -1;       ///< number of the operation that it hits
  bool forever = false;  ///< all later ones too (a full disk stays full)
  int64_t done = 0;      ///< operations so far
  int64_t free = -1;

  int create(const std::string& path) override { return hit() ? -1 : FileOperations::create(path); }
  ssize_t write(int file, const void* bytes, size_t count) override {
    if (hit()) {
      // A part is written before the disk is full; the next write then fails.
      if (fault != Fault::short_write || count < 2) return -1;
      forever = true;
      return FileOperations::write(file, bytes, count / 2);
    }
    return FileOperations::write(file, bytes, count);
  }
  int sync(int file) override { return hit() ? -1 : UnsyncedFiles::sync(file); }
  int close(int file) override {
    // The descriptor is gone however close() ends.
    const int closed = FileOperations::close(file);
    const int kept = errno;
    if (hit()) return -1;
    errno = kept;
    return closed;
  }
  int rename(const std::string& from, const std::string& to) override {
    return hit() ? -1 : FileOperations::rename(from, to);
  }
  int remove(const std::string& path) override {
    return dead_ || hit() ? -1 : FileOperations::remove(path);
  }
  int make_folder(const std::string& path) override {
    return hit() ? -1 : FileOperations::make_folder(path);
  }
  int remove_folder(const std::string& path) override {
    return hit() ? -1 : FileOperations::remove_folder(path);
  }
  int sync_folder(const std::string& path) override {
    return hit() ? -1 : UnsyncedFiles::sync_folder(path);
  }
  int64_t free_bytes(const std::string& path) override {
    return free >= 0 ? free : FileOperations::free_bytes(path);
  }

 private:
  bool hit() {
    if (dead_) return true;
    const bool now = done == at || (forever && at >= 0 && done > at);
    ++done;
    if (!now || fault == Fault::none) return false;
    if (fault == Fault::kill) {
      dead_ = true;
      throw Killed();
    }
    errno = error;
    return true;
  }

  bool dead_ = false;
};

/// Remembers every operation below a folder, to show what the disk may hold after a loss of power.
class RememberedFiles : public io::FileOperations {
 public:
  explicit RememberedFiles(std::string root) : root_(std::move(root)) { nodes_.emplace_back(true); }

  int create(const std::string& path) override {
    const int file = FileOperations::create(path);
    log_.push_back({Kind::create, path, "", file});
    open_[file] = path;
    return file;
  }
  ssize_t write(int file, const void* bytes, size_t count) override {
    const ssize_t done = FileOperations::write(file, bytes, count);
    log_.push_back({Kind::write, open_[file],
                    std::string(static_cast<const char*>(bytes), static_cast<size_t>(done)), file});
    return done;
  }
  int sync(int file) override {
    log_.push_back({Kind::sync, open_[file], "", file});
    return 0;
  }
  int rename(const std::string& from, const std::string& to) override {
    log_.push_back({Kind::rename, from, to, 0});
    return FileOperations::rename(from, to);
  }
  int remove(const std::string& path) override {
    log_.push_back({Kind::remove, path, "", 0});
    return FileOperations::remove(path);
  }
  int make_folder(const std::string& path) override {
    log_.push_back({Kind::make_folder, path, "", 0});
    return FileOperations::make_folder(path);
  }
  int remove_folder(const std::string& path) override {
    log_.push_back({Kind::remove, path, "", 0});
    return FileOperations::remove_folder(path);
  }
  int sync_folder(const std::string& path) override {
    log_.push_back({Kind::sync_folder, path, "", 0});
    return 0;
  }

  size_t operations() const { return log_.size(); }

  enum class Unsynced { lost, half, kept };

  /// Makes, in an empty folder, what is there after the first `count` operations and a loss of
  /// power.
  void replay(size_t count, Unsynced data, bool durable_names, const std::string& into) {
    nodes_.assign(1, Node(true));
    for (size_t i = 0; i < count; ++i) apply(log_[i]);
    write_out(0, data, durable_names, into);
  }

 private:
  enum class Kind { create, write, sync, rename, remove, make_folder, sync_folder };
  struct Operation {
    Kind kind;
    std::string path, more;
    int file;
  };
  struct Node {
    explicit Node(bool is_folder) : folder(is_folder) {}
    bool folder;
    std::string bytes;
    size_t synced = 0;
    std::map<std::string, size_t> names, durable;
  };

  void apply(const Operation& operation) {
    switch (operation.kind) {
      case Kind::create:
      case Kind::make_folder:
        nodes_.emplace_back(operation.kind == Kind::make_folder);
        folder_of(operation.path).names[name_of(operation.path)] = nodes_.size() - 1;
        break;
      case Kind::write:
        node_of(operation.path).bytes += operation.more;
        break;
      case Kind::sync:
        node_of(operation.path).synced = node_of(operation.path).bytes.size();
        break;
      case Kind::rename: {
        const size_t node = folder_of(operation.path).names.at(name_of(operation.path));
        folder_of(operation.path).names.erase(name_of(operation.path));
        folder_of(operation.more).names[name_of(operation.more)] = node;
        break;
      }
      case Kind::remove:
        folder_of(operation.path).names.erase(name_of(operation.path));
        break;
      case Kind::sync_folder: {
        Node& folder = node_of(operation.path);
        folder.durable = folder.names;
        break;
      }
    }
  }

  static std::string name_of(const std::string& path) {
    return path.substr(path.find_last_of('/') + 1);
  }
  Node& folder_of(const std::string& path) {
    return node_of(path.substr(0, path.find_last_of('/')));
  }
  Node& node_of(const std::string& path) {
    size_t node = 0;
    std::string rest = path.size() > root_.size() ? path.substr(root_.size() + 1) : "";
    while (!rest.empty()) {
      const size_t slash = rest.find('/');
      node = nodes_[node].names.at(rest.substr(0, slash));
      rest = slash == std::string::npos ? "" : rest.substr(slash + 1);
    }
    return nodes_[node];
  }

  void write_out(size_t node, Unsynced data, bool durable_names, const std::string& into) {
    const auto& names = durable_names ? nodes_[node].durable : nodes_[node].names;
    for (const auto& [name, child] : names) {
      const std::string path = into + "/" + name;
      if (nodes_[child].folder) {
        std::filesystem::create_directory(path);
        write_out(child, data, durable_names, path);
        continue;
      }
      const size_t all = nodes_[child].bytes.size(), synced = nodes_[child].synced;
      const size_t kept = data == Unsynced::lost   ? synced
                          : data == Unsynced::half ? synced + (all - synced) / 2
                                                   : all;
      std::ofstream(path, std::ios::binary) << nodes_[child].bytes.substr(0, kept);
    }
  }

  std::string root_;
  std::vector<Operation> log_;
  std::map<int, std::string> open_;
  std::vector<Node> nodes_;
};

}  // namespace heddle::testing
