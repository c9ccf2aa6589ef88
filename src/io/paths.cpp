#include "heddle/io/paths.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <system_error>

#include "heddle/base/error.h"

namespace heddle::io {

std::string join_path(std::string_view folder, std::string_view name) {
  if (name.starts_with('/') || folder.empty()) return std::string(name);
  return folder.ends_with('/') ? str(folder, name) : str(folder, "/", name);
}

std::string file_name(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  return std::string(path.substr(path.rfind('/') + 1));
}

std::string folder_of(std::string_view path) {
  const size_t slash = path.rfind('/');
  if (slash == path.npos) return ".";
  return slash == 0 ? "/" : std::string(path.substr(0, slash));
}

bool exists(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0;
}

bool is_directory(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

std::vector<std::string> list_folder(const std::string& path) {
  constexpr size_t kMost = 10'000;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(path.c_str()), ::closedir);
  const int error = errno;
  HEDDLE_CHECK(folder != nullptr, "io: ", path,
               ": cannot be listed: ", std::generic_category().message(error));
  std::vector<std::string> names;
  // The stream is this call's own, so NOLINTNEXTLINE(concurrency-mt-unsafe).
  while (const dirent* entry = ::readdir(folder.get())) {
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    HEDDLE_CHECK(names.size() < kMost, "io: ", path, ": found more than ", kMost,
                 " files; expected a model's directory");
    names.emplace_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool stays_below(std::string_view name) {
  if (name.empty() || name.starts_with('/') || name.find('\\') != name.npos ||
      name.find('\0') != name.npos) {
    return false;
  }
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('/', begin), name.size());
    if (name.substr(begin, end - begin) == "..") return false;
    begin = end + 1;
  }
  return true;
}

}  // namespace heddle::io
