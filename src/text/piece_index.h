// Ids of pieces by their text, in one flat table: a vocabulary of 32,000 pieces is indexed at every
// start, and a map that allocates each piece takes ten times as long.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

namespace heddle::text {

/// How a piece writes a space: ▁.
inline constexpr std::string_view kSpaceMark = "\xE2\x96\x81";

class PieceIndex {
 public:
  PieceIndex() = default;

  /// For at most so many pieces, whose texts somebody else keeps.
  explicit PieceIndex(size_t pieces) : slots_(std::bit_ceil(2 * pieces + 1)) {}

  /// Adds a piece; -1, or the id under which it is there already.
  int32_t add(std::string_view piece, int32_t id) {
    Slot& slot = slots_[place_of(piece)];
    if (slot.id >= 0) return slot.id;
    slot = {piece, id};
    return -1;
  }

  /// The id of a piece; -1 when it is not there.
  int32_t find(std::string_view piece) const {
    return slots_.empty() ? -1 : slots_[place_of(piece)].id;
  }

 private:
  struct Slot {
    std::string_view text;
    int32_t id = -1;
  };

  /// Where the piece is, or would be; more than half of the slots are empty.
  size_t place_of(std::string_view piece) const {
    const size_t mask = slots_.size() - 1;
    size_t place = std::hash<std::string_view>{}(piece)&mask;
    while (slots_[place].id >= 0 && slots_[place].text != piece) place = (place + 1) & mask;
    return place;
  }

  std::vector<Slot> slots_;
};

}  // namespace heddle::text
