#include "heddle/io/npz.h"

#include <algorithm>
#include <optional>
#include <unordered_set>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/byte_reader.h"
#include "heddle/io/checksum.h"
#include "heddle/io/paths.h"
#include "heddle/io/quoted.h"

namespace heddle::io {

namespace {

constexpr std::string_view kFormat = "npz";
constexpr uint32_t kLocal = 0x04034b50, kCentral = 0x02014b50;
constexpr uint32_t kEnd64 = 0x06064b50, kLocator64 = 0x07064b50;
constexpr uint64_t kEndSize = 22, kLocatorSize = 20, kEnd64Size = 56, kCentralSize = 46;
constexpr uint64_t kLongestComment = 0xffff;
constexpr uint16_t kEncrypted = 1, kDescriptor = 8;
constexpr uint32_t kElsewhere = 0xffffffff;  // the number stands in a zip64 field

/// Where the central directory lies.
struct Directory {
  uint64_t entries = 0;
  uint64_t offset = 0;
  uint64_t size = 0;
  uint64_t end = 0;  ///< of what may lie before the end records
};

/// A member as a central or local header describes it.
struct Entry {
  uint16_t flags = 0;
  uint16_t method = 0;
  uint32_t checksum = 0;
  uint64_t stored = 0;
  uint64_t size = 0;
  uint64_t offset = 0;  ///< of the local header
  std::string name;
};

/// Offset of the end record: the last one whose comment fills the rest of the file.
uint64_t find_end(const Source& source) {
  const uint64_t window = std::min(source.size(), kEndSize + kLongestComment);
  const uint64_t begin = source.size() - window;
  std::string tail(static_cast<size_t>(window), '\0');
  source.read(tail.data(), tail.size(), begin);
  const size_t starts = tail.size() < kEndSize ? 0 : tail.size() - kEndSize + 1;
  for (size_t from = starts; from > 0; --from) {
    const size_t at = from - 1;
    if (tail.compare(at, 4, "PK\5\6") != 0) continue;
    const auto low = static_cast<unsigned char>(tail[at + 20]);
    const auto high = static_cast<unsigned char>(tail[at + 21]);
    if (at + kEndSize + (low | static_cast<size_t>(high) << 8) == tail.size()) return begin + at;
  }
  detail::throw_error(str("npz: ", source.name(), ": end record: found none in ", source.size(),
                          " bytes; expected a zip archive (offset ", begin,
                          "). Hint: the file may be cut short"));
}

/// The zip64 end record, whose locator lies just before the end record.
void read_end64(const Source& source, uint64_t end, Directory& directory) {
  ByteReader locator(source, kFormat, end - kLocatorSize, end);
  locator.skip(8, "zip64 locator");
  const auto offset = locator.number<uint64_t>("zip64 locator");
  if (offset > end - kLocatorSize || end - kLocatorSize - offset < kEnd64Size) {
    locator.fail("zip64 locator", str("offset ", offset), "one before the locator");
  }
  ByteReader reader(source, kFormat, offset, end - kLocatorSize);
  const auto signature = reader.number<uint32_t>("zip64 end record");
  if (signature != kEnd64) reader.fail("zip64 end record", "no signature", "one");
  reader.skip(20, "zip64 end record");
  const auto here = reader.number<uint64_t>("zip64 entries on this disk");
  directory.entries = reader.number<uint64_t>("zip64 entries");
  if (here != directory.entries) reader.fail("zip64 entries", str(here), "all on one disk");
  directory.size = reader.number<uint64_t>("zip64 directory size");
  directory.offset = reader.number<uint64_t>("zip64 directory offset");
  directory.end = offset;
}

Directory find_directory(const Source& source) {
  const uint64_t end = find_end(source);
  ByteReader reader(source, kFormat, end, source.size());
  reader.skip(4, "end record");
  const auto disk = reader.number<uint16_t>("disk");
  const auto first = reader.number<uint16_t>("disk of the directory");
  const auto here = reader.number<uint16_t>("entries on this disk");
  Directory directory;
  directory.entries = reader.number<uint16_t>("entries");
  if (disk != first || here != directory.entries)
    reader.fail("disk", str(disk), "one archive file");
  directory.size = reader.number<uint32_t>("directory size");
  directory.offset = reader.number<uint32_t>("directory offset");
  directory.end = end;
  bool has_locator = false;
  if (end >= kLocatorSize) {
    ByteReader before(source, kFormat, end - kLocatorSize, end);
    has_locator = before.number<uint32_t>("zip64 locator") == kLocator64;
  }
  if (has_locator) read_end64(source, end, directory);
  if (directory.offset > directory.end || directory.size > directory.end - directory.offset) {
    reader.fail("directory", str("[", directory.offset, ", +", directory.size, ")"),
                str("a part of the first ", directory.end, " bytes"));
  }
  const uint64_t most = std::min(kMostTensors, directory.size / kCentralSize);
  if (directory.entries > most) {
    reader.fail("entries", str(directory.entries), str("at most ", most));
  }
  return directory;
}

/// Replaces the numbers that stand in the zip64 extra field, in the order it has them.
void read_extra(ByteReader& reader, uint64_t bytes, Entry& entry, bool has_offset) {
  const uint64_t end = reader.offset() + bytes;
  while (end - reader.offset() >= 4) {
    const auto id = reader.number<uint16_t>("extra field");
    const uint64_t size = reader.number<uint16_t>("extra field");
    if (size > end - reader.offset()) reader.fail("extra field", str(size), "its size inside");
    const uint64_t next = reader.offset() + size;
    if (id == 1) {
      for (uint64_t* number : {&entry.size, &entry.stored, &entry.offset}) {
        if (*number != kElsewhere || (number == &entry.offset && !has_offset)) continue;
        if (next - reader.offset() < 8) reader.fail("zip64 field", "its end", "8 bytes a number");
        *number = reader.number<uint64_t>("zip64 field");
      }
    }
    reader.skip(next - reader.offset(), "extra field");
  }
  reader.skip(end - reader.offset(), "extra field");
}

Entry read_entry(ByteReader& reader, bool central) {
  Entry entry;
  const auto signature = reader.number<uint32_t>("signature");
  if (signature != (central ? kCentral : kLocal)) {
    reader.fail(central ? "directory entry" : "local header", "no signature", "one");
  }
  reader.skip(central ? 4 : 2, "versions");
  entry.flags = reader.number<uint16_t>("flags");
  entry.method = reader.number<uint16_t>("compression");
  reader.skip(4, "time");
  entry.checksum = reader.number<uint32_t>("checksum");
  entry.stored = reader.number<uint32_t>("stored size");
  entry.size = reader.number<uint32_t>("size");
  const uint64_t name = reader.number<uint16_t>("name length");
  const uint64_t extra = reader.number<uint16_t>("extra length");
  const uint64_t comment = central ? reader.number<uint16_t>("comment length") : 0;
  if (central) {
    reader.skip(8, "attributes");
    entry.offset = reader.number<uint32_t>("local offset");
  }
  entry.name = reader.text(name, "name");
  read_extra(reader, extra, entry, central);
  reader.skip(comment, "comment");
  return entry;
}

void check_entry(const ByteReader& reader, const Entry& entry) {
  const std::string field = str("member ", quoted(entry.name));
  if ((entry.flags & kEncrypted) != 0) reader.fail(field, "encryption", "none");
  if (entry.method != 0) {
    reader.fail(field, str("compression ", entry.method),
                "stored members. Hint: save it with numpy.savez, not savez_compressed");
  }
  if (entry.stored != entry.size) reader.fail(field, "two sizes", "one, as it is stored");
  if (entry.name.size() < 5 || !entry.name.ends_with(".npy") || entry.name.size() > kLongestName) {
    reader.fail("member name", quoted(entry.name), "a name that ends in .npy");
  }
  if (!stays_below(entry.name)) {
    reader.fail("member name", quoted(entry.name), "a relative name without '..'");
  }
}

/// The local header repeats the entry, except for what it leaves to a data descriptor.
void check_local(const ByteReader& reader, const Entry& local, const Entry& entry) {
  const std::string field = str("local header of ", quoted(entry.name));
  const bool later = (local.flags & kDescriptor) != 0;
  const bool same = local.name == entry.name && local.method == entry.method &&
                    (later || (local.checksum == entry.checksum && local.size == entry.size &&
                               local.stored == entry.stored));
  if (!same) reader.fail(field, "another name, size or checksum", "what the directory says");
}

}  // namespace

bool NpzFile::recognises(const Source& source) {
  if (source.size() < kEndSize) return false;
  char start[4];
  source.read(start, sizeof start, 0);
  const std::string_view text(start, sizeof start);
  return text == "PK\3\4" || text == "PK\5\6";
}

NpzFile::NpzFile(Source source) : source_(std::move(source)) {
  const Directory directory = find_directory(source_);
  ByteReader reader(source_, kFormat, directory.offset, directory.offset + directory.size);
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (uint64_t i = 0; i < directory.entries; ++i) {
    const Entry entry = read_entry(reader, true);
    check_entry(reader, entry);
    if (entry.offset >= directory.offset) {
      reader.fail(str("member ", quoted(entry.name)), str("offset ", entry.offset),
                  "one before the directory");
    }
    ByteReader at(source_, kFormat, entry.offset, directory.offset);
    check_local(at, read_entry(at, false), entry);
    if (entry.size > at.remaining()) {
      at.fail(str("member ", quoted(entry.name)), str(entry.size, " bytes"),
              str("at most the ", at.remaining(), " before the directory"));
    }
    NpzMember member;
    member.name = entry.name.substr(0, entry.name.size() - 4);
    member.begin = at.offset();
    member.size = entry.size;
    member.checksum = entry.checksum;
    member.layout =
        read_npy_layout(source_, member.begin, member.size, str(source_.name(), ": ", entry.name));
    member.shape = member.layout.shape;
    member.dtype = member.layout.dtype;
    member.type = name_of(member.dtype);
    member.offset = member.layout.data_offset;
    member.bytes = member.layout.data_bytes;
    ranges.emplace_back(entry.offset, member.begin + member.size);
    members_.push_back(std::move(member));
  }
  std::unordered_set<std::string_view> names;
  for (const NpzMember& member : members_) {
    HEDDLE_CHECK(names.insert(member.name).second, "npz: ", source_.name(), ": member name: found ",
                 quoted(member.name), " twice; expected it once");
  }
  std::sort(ranges.begin(), ranges.end());
  for (size_t i = 1; i < ranges.size(); ++i) {
    HEDDLE_CHECK(ranges[i - 1].second <= ranges[i].first, "npz: ", source_.name(),
                 ": members: found two that share bytes at offset ", ranges[i].first,
                 "; expected each by itself");
  }
}

Tensor NpzFile::read(const NpzMember& member) const {
  // The checksum is of header and elements.
  std::string header(static_cast<size_t>(member.offset - member.begin), '\0');
  source_.read(header.data(), header.size(), member.begin);
  Tensor tensor = read_tensor(source_, member.shape, member.dtype, member.offset);
  const auto bytes = static_cast<size_t>(member.bytes);
  const uint32_t checksum = crc32({static_cast<const std::byte*>(tensor.raw()), bytes},
                                  crc32(std::as_bytes(std::span(header))));
  HEDDLE_CHECK(checksum == member.checksum, "npz: ", source_.name(), ": member ",
               quoted(member.name), ": found the CRC-32 ", checksum, "; expected ", member.checksum,
               " (offset ", member.begin, "): the file is damaged");
  check_npy_elements(tensor, member.layout, str(source_.name(), ": ", member.name));
  return tensor;
}

}  // namespace heddle::io
