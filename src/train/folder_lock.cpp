#include "heddle/train/folder_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "heddle/base/error.h"
#include "heddle/io/paths.h"

namespace heddle::train {

FolderLock::FolderLock(const std::string& folder) {
  const std::string path = io::join_path(folder, ".lock");
  descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  HEDDLE_CHECK(descriptor_ >= 0, path,
               ": cannot be opened: ", std::generic_category().message(errno));
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    char owner[32] = {};
    const ssize_t read = ::pread(descriptor_, owner, sizeof owner - 1, 0);
    ::close(descriptor_);
    HEDDLE_CHECK(error != EWOULDBLOCK, folder, ": another trainer works here (process ",
                 read > 0 ? owner : "unknown", "); expected a folder of this run's own");
    detail::throw_error(str(path, ": cannot be locked: ", std::generic_category().message(error)));
  }
  const std::string owner = str(static_cast<int>(::getpid()));
  // Only for the message above: a failure changes nothing.
  if (::ftruncate(descriptor_, 0) == 0 &&
      ::pwrite(descriptor_, owner.data(), owner.size(), 0) < 0) {
    errno = 0;
  }
}

FolderLock::~FolderLock() { ::close(descriptor_); }

}  // namespace heddle::train
