// Writes .npy members and the archives around them.
#include <algorithm>
#include <string>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/atomic_file.h"
#include "heddle/io/checksum.h"
#include "heddle/io/npz.h"
#include "heddle/io/quoted.h"

namespace heddle::io {

namespace {

std::string_view descr_of(DType dtype, std::string_view name) {
  switch (dtype) {
    case DType::f64:
      return "<f8";
    case DType::f32:
      return "<f4";
    case DType::f16:
      return "<f2";
    case DType::i64:
      return "<i8";
    case DType::i32:
      return "<i4";
    case DType::i8:
      return "|i1";
    case DType::u8:
      return "|u1";
    case DType::bf16:
      break;
  }
  detail::throw_error(
      str("npz: ", quoted(name), ": found ", name_of(dtype), "; expected a type that NumPy has"));
}

/// Magic, version 1, length and text, in a multiple of 64 bytes.
std::string npy_header(const NamedTensor& named) {
  const Tensor& tensor = named.tensor;
  std::string shape = "(";
  for (int axis = 0; axis < tensor.rank(); ++axis) {
    shape += str(axis > 0 ? ", " : "", tensor.dim(axis));
  }
  shape += tensor.rank() == 1 ? ",)" : ")";
  std::string text = str("{'descr': '", descr_of(tensor.dtype(), named.name),
                         "', 'fortran_order': False, 'shape': ", shape, ", }");
  text.append(63 - (10 + text.size()) % 64, ' ');
  text += '\n';
  std::string header("\x93NUMPY\x01\x00", 8);
  header += {static_cast<char>(text.size() & 255), static_cast<char>(text.size() >> 8)};
  return header + text;
}

std::span<const std::byte> bytes_of(const Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.raw()),
          static_cast<size_t>(tensor.elements()) * size_of(tensor.dtype())};
}

struct Written {
  std::string name;
  uint32_t checksum;
  uint32_t size;
  uint32_t offset;
};

constexpr uint16_t kVersion = 20;
constexpr uint16_t kDate = 0x0021;  // 1 January 1980: equal tensors make equal files

/// What local and central headers share, from the version on.
void write_fields(AtomicFile& file, const Written& member) {
  file.number(kVersion);
  file.number(uint16_t{0});  // flags
  file.number(uint16_t{0});  // stored
  file.number(uint16_t{0});  // time
  file.number(kDate);
  file.number(member.checksum);
  file.number(member.size);
  file.number(member.size);
  file.number(static_cast<uint16_t>(member.name.size()));
  file.number(uint16_t{0});  // extra
}

Written write_member(AtomicFile& file, const NamedTensor& named) {
  HEDDLE_CHECK(named.tensor.is_contiguous(), "npz: ", quoted(named.name),
               ": found strides; expected a contiguous tensor");
  const std::string header = npy_header(named);
  const std::span<const std::byte> data = bytes_of(named.tensor);
  const uint64_t size = header.size() + data.size();
  HEDDLE_CHECK(file.size() + size < UINT32_MAX, "npz: ", quoted(named.name), ": found ",
               file.size() + size, " bytes in all; expected less than 4 GiB");
  Written member{named.name + ".npy", crc32(data, crc32(std::as_bytes(std::span(header)))),
                 static_cast<uint32_t>(size), static_cast<uint32_t>(file.size())};
  file.write("PK\x03\x04");
  write_fields(file, member);
  file.write(member.name);
  file.write(header);
  file.write(data);
  return member;
}

void write_directory(AtomicFile& file, const std::vector<Written>& members) {
  const uint64_t begin = file.size();
  for (const Written& member : members) {
    file.write("PK\x01\x02");
    file.number(kVersion);  // made by
    write_fields(file, member);
    file.number(uint16_t{0});  // comment
    file.number(uint16_t{0});  // disk
    file.number(uint16_t{0});  // internal attributes
    file.number(uint32_t{0});  // external attributes
    file.number(member.offset);
    file.write(member.name);
  }
  const uint64_t size = file.size() - begin;
  HEDDLE_CHECK(members.size() < 0xffff && begin + size < UINT32_MAX, "npz: found ", members.size(),
               " members; expected at most 65534 in less than 4 GiB");
  file.write("PK\x05\x06");
  file.number(uint32_t{0});  // disks
  file.number(static_cast<uint16_t>(members.size()));
  file.number(static_cast<uint16_t>(members.size()));
  file.number(static_cast<uint32_t>(size));
  file.number(static_cast<uint32_t>(begin));
  file.number(uint16_t{0});  // comment
}

}  // namespace

void write_npz(const std::string& path, const std::vector<NamedTensor>& tensors) {
  AtomicFile file(path);
  std::vector<Written> members;
  for (const NamedTensor& named : tensors) members.push_back(write_member(file, named));
  write_directory(file, members);
  file.commit();
}

}  // namespace heddle::io
