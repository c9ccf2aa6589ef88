// One trainer a folder: a lock that goes with the process, however it ends.
#pragma once

#include <string>

namespace heddle::train {

class FolderLock {
 public:
  /// Throws when another process (or another lock of this one) holds it.
  explicit FolderLock(const std::string& folder);
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  ~FolderLock();

 private:
  int descriptor_ = -1;
};

}  // namespace heddle::train
