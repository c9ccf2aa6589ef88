// Checkpoints of a run: folders checkpoint-<step> that are whole and on disk, or not there.
//
//   save   checkpoint-N.tmp: each file written and synced, then the manifest with the checksums of
//          what was read back, the folder synced; rename to checkpoint-N; parent synced; only then
//          are older ones removed
//   load   from the newest down, the first whose every checksum fits
//
// Names that are not exactly checkpoint-<step> mean nothing; the order is that of the steps, not of
// clocks.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "heddle/io/file_operations.h"
#include "heddle/train/manifest.h"

namespace heddle::train {

struct FoundCheckpoint {
  std::string path;
  Manifest manifest;
};

class Checkpoints {
 public:
  /// Keeps the newest `keep` of them that are whole, at least 2; 0 keeps all.
  Checkpoints(std::string folder, int keep, io::FileOperations& files = io::system_files());

  struct Request {
    Manifest manifest;
    int64_t bytes = 0;  ///< that write() needs, about
    std::function<void(const std::string& folder, io::FileOperations& files)> write;
  };

  /// When it returns, the checkpoint survives a loss of power. When it throws, all older ones are
  /// as they were. Returns what went wrong without harm (an old one that could not be removed).
  std::vector<std::string> save(const Request& request);

  /// The newest that is whole. `damaged` gets a line for each newer one that is not; throws when
  /// there are checkpoints and none is whole.
  std::optional<FoundCheckpoint> newest(std::vector<std::string>& damaged);

  std::vector<int64_t> steps() const;  ///< of all that are there, whole or not; rising
  std::string path_of(int64_t step) const;

 private:
  void check_space(const Request& request) const;
  void write_temporary(const std::string& temporary, const Request& request);
  void publish(const std::string& temporary, const std::string& path);
  void remove_left_overs(std::vector<std::string>& warnings);
  void remove_old(std::vector<std::string>& warnings);
  bool remove_tree(const std::string& path);
  bool is_whole(int64_t step);

  std::string folder_;
  int keep_;
  io::FileOperations& files_;
  std::set<int64_t> whole_;  // known to be
};

}  // namespace heddle::train
