#include "heddle/decode/admission.h"

namespace heddle::decode {

int admissible(const AdmissionPolicy& policy, const Room& room, std::span<const Demand> waiting) {
  // Fewer may wait than the refill asks for: then there is nothing to wait for.
  const bool enough_room = room.live_rows == 0 || room.free_rows >= policy.refill_rows;
  if (!enough_room) return 0;
  int count = 0, rows = 0;
  int64_t tokens = 0;
  for (const Demand& demand : waiting) {
    if (rows + demand.rows > room.free_rows) break;
    if (tokens + demand.source_tokens > room.free_source_tokens) break;
    if (count > 0 && tokens + demand.source_tokens > policy.encode_tokens) break;
    rows += demand.rows;
    tokens += demand.source_tokens;
    ++count;
  }
  return count;
}

}  // namespace heddle::decode
