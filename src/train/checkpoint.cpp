#include "heddle/train/checkpoint.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <system_error>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/atomic_file.h"
#include "heddle/io/paths.h"

namespace heddle::train {

namespace {

constexpr std::string_view kPrefix = "checkpoint-";
constexpr std::string_view kTemporary = ".tmp", kRemoved = ".removed", kReplaced = ".replaced";
constexpr int64_t kSpare = int64_t{4} << 20;  // bytes of folders and small files

/// The step of "checkpoint-<step>", written as a number is.
std::optional<int64_t> step_in_name(std::string_view name) {
  if (!name.starts_with(kPrefix)) return {};
  name.remove_prefix(kPrefix.size());
  int64_t step = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), step);
  if (error != std::errc() || end != name.data() + name.size() || step < 0) return {};
  return str(step) == name ? std::optional(step) : std::nullopt;
}

[[noreturn]] void fail(const std::string& path, std::string_view action) {
  const int error = errno;
  detail::throw_error(str("checkpoint: ", path, ": cannot be ", action, ": ",
                          std::generic_category().message(error)));
}

}  // namespace

Checkpoints::Checkpoints(std::string folder, int keep, io::FileOperations& files)
    : folder_(std::move(folder)), keep_(keep), files_(files) {
  HEDDLE_CHECK(
      keep == 0 || keep >= 2, "save_total_limit: found ", keep,
      "; expected at least 2, so that one is whole while another is damaged, or 0 for all");
}

std::string Checkpoints::path_of(int64_t step) const {
  return io::join_path(folder_, str(kPrefix, step));
}

std::vector<int64_t> Checkpoints::steps() const {
  std::vector<int64_t> steps;
  if (!io::is_directory(folder_)) return steps;
  for (const std::string& name : io::list_folder(folder_)) {
    const auto step = step_in_name(name);
    if (step && io::is_directory(io::join_path(folder_, name))) steps.push_back(*step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

std::vector<std::string> Checkpoints::save(const Request& request) {
  std::vector<std::string> warnings;
  remove_left_overs(warnings);
  check_space(request);
  const std::string path = path_of(request.manifest.step);
  const std::string temporary = path + std::string(kTemporary);
  try {
    write_temporary(temporary, request);
    publish(temporary, path);
  } catch (const Error&) {
    if (io::exists(temporary)) remove_tree(temporary);
    throw;
  }
  whole_.insert(request.manifest.step);
  remove_old(warnings);
  return warnings;
}

void Checkpoints::check_space(const Request& request) const {
  const int64_t free = files_.free_bytes(folder_);
  if (free < 0) return;  // a file system that does not tell
  HEDDLE_CHECK(free >= request.bytes + kSpare, "checkpoint: ", path_of(request.manifest.step),
               " needs ", request.bytes + kSpare, " bytes; found ", free, " free");
}

void Checkpoints::write_temporary(const std::string& temporary, const Request& request) {
  if (files_.make_folder(temporary) != 0) fail(temporary, "made");
  request.write(temporary, files_);
  write_manifest(temporary, request.manifest, files_);
  if (files_.sync_folder(temporary) != 0) fail(temporary, "synced");
}

void Checkpoints::publish(const std::string& temporary, const std::string& path) {
  if (io::exists(path)) {  // one of this step that was damaged, or was left by going back
    const std::string replaced = path + std::string(kReplaced);
    if (io::exists(replaced)) remove_tree(replaced);
    if (files_.rename(path, replaced) != 0) fail(path, "renamed");
  }
  if (files_.rename(temporary, path) != 0) fail(temporary, "renamed");
  if (files_.sync_folder(folder_) != 0) fail(path, "made durable");
}

std::optional<FoundCheckpoint> Checkpoints::newest(std::vector<std::string>& damaged) {
  const std::vector<int64_t> all = steps();
  for (auto step = all.rbegin(); step != all.rend(); ++step) {
    try {
      FoundCheckpoint found{path_of(*step), read_verified(path_of(*step), *step)};
      whole_.insert(*step);
      return found;
    } catch (const Error& error) {
      damaged.push_back(str("checkpoint-", *step, " is not used: ", error.what()));
    }
  }
  HEDDLE_CHECK(all.empty(), "checkpoint: none of the ", all.size(), " in ", folder_,
               " is whole; the newest: ", damaged.empty() ? "" : damaged.front(),
               " (move them away to start anew)");
  return {};
}

bool Checkpoints::is_whole(int64_t step) {
  if (whole_.contains(step)) return true;
  try {
    read_verified(path_of(step), step);
  } catch (const Error&) {
    return false;
  }
  whole_.insert(step);
  return true;
}

void Checkpoints::remove_left_overs(std::vector<std::string>& warnings) {
  for (const std::string& name : io::list_folder(folder_)) {
    for (const std::string_view ending : {kTemporary, kRemoved, kReplaced}) {
      if (!name.ends_with(ending)) continue;
      const std::string_view start = std::string_view(name).substr(0, name.size() - ending.size());
      if (step_in_name(start) && !remove_tree(io::join_path(folder_, name))) {
        warnings.push_back(name + " could not be removed");
      }
    }
  }
}

void Checkpoints::remove_old(std::vector<std::string>& warnings) {
  if (keep_ == 0) return;
  const std::vector<int64_t> all = steps();
  int kept = 0;
  for (auto step = all.rbegin(); step != all.rend(); ++step) {
    if (kept < keep_) {
      kept += is_whole(*step) ? 1 : 0;
      continue;
    }
    // Renamed first: what is half removed has no name that counts.
    const std::string removed = path_of(*step) + std::string(kRemoved);
    if (files_.rename(path_of(*step), removed) != 0 || !remove_tree(removed)) {
      warnings.push_back(str("checkpoint-", *step, " could not be removed"));
    }
    whole_.erase(*step);
  }
}

bool Checkpoints::remove_tree(const std::string& path) {
  if (!io::is_directory(path)) return files_.remove(path) == 0;
  bool removed = true;
  for (const std::string& name : io::list_folder(path)) {
    removed = remove_tree(io::join_path(path, name)) && removed;
  }
  return files_.remove_folder(path) == 0 && removed;
}

}  // namespace heddle::train
