#include "heddle/train/manifest.h"

#include "heddle/base/error.h"
#include "heddle/io/atomic_file.h"
#include "heddle/io/hash64.h"
#include "heddle/io/json.h"
#include "heddle/io/paths.h"
#include "heddle/io/source.h"

namespace heddle::train {

namespace {

constexpr int64_t kFormat = 1;
constexpr uint64_t kLongestManifest = uint64_t{16} << 20;  // bytes of a manifest

io::Value describe_files(const std::string& folder) {
  io::Value described{io::Value::Map{}};
  for (const std::string& name : io::list_folder(folder)) {
    const std::string path = io::join_path(folder, name);
    if (name == kManifest || io::is_directory(path)) continue;
    io::Value file;
    file.set("bytes", static_cast<int64_t>(io::Source(path).size()));
    file.set("xxh64", io::hex64(io::hash_file(path)));
    described.set(name, std::move(file));
  }
  return described;
}

/// The head of the text whose rest is `body`.
std::string head_of(std::string_view body) {
  return str("{\"checksum\":\"", io::hex64(io::hash64(body)), "\",");
}

void verify_file(const std::string& folder, const io::Value::Member& member,
                 const std::string& place) {
  const io::Field file(member.value, place + ": " + member.key);
  if (!io::stays_below(member.key)) file.fail("the name of a file in this folder");
  const std::string path = io::join_path(folder, member.key);
  HEDDLE_CHECK(io::exists(path), path, ": is missing");
  const int64_t bytes = file["bytes"].integer(0, INT64_MAX);
  const auto found = static_cast<int64_t>(io::Source(path).size());
  HEDDLE_CHECK(found == bytes, path, ": found ", found, " bytes; expected ", bytes);
  HEDDLE_CHECK(io::hex64(io::hash_file(path)) == file["xxh64"].text(), path,
               ": is damaged: its bytes are not those that were saved");
}

}  // namespace

void write_manifest(const std::string& folder, const Manifest& manifest,
                    io::FileOperations& files) {
  io::Value value;
  value.set("format", kFormat);
  value.set("step", manifest.step);
  value.set("files", describe_files(folder));
  value.set("state", manifest.state);
  const std::string body = io::to_json(value).substr(1);
  io::write_file(io::join_path(folder, kManifest), head_of(body) + body, files);
}

Manifest read_verified(const std::string& folder, int64_t step) {
  const std::string path = io::join_path(folder, kManifest);
  const std::string text = io::read_text(path, kLongestManifest);
  const size_t head = head_of("").size();
  HEDDLE_CHECK(text.size() > head, path, ": found ", text.size(), " bytes");
  const std::string_view body = std::string_view(text).substr(head);
  HEDDLE_CHECK(text.starts_with(head_of(body)), path, ": is damaged: the checksum does not fit");
  const io::Value value = io::parse_json(text, path);
  const io::Field field(value, path);
  field["format"].integer(kFormat, kFormat);
  const int64_t found = field["step"].integer(0, INT64_MAX);
  HEDDLE_CHECK(found == step, path, ": found step ", found, "; expected ", step);
  for (const auto& member : field["files"].members()) verify_file(folder, member, path);
  return {found, field["state"].value()};
}

}  // namespace heddle::train
