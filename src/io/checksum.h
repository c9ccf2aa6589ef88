// CRC-32 as zip files have it (polynomial 0xEDB88320, reflected).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace heddle::io {

/// Of the bytes that follow those whose checksum `before` is.
uint32_t crc32(std::span<const std::byte> bytes, uint32_t before = 0);

}  // namespace heddle::io
