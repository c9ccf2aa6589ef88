// trainer_state.json: what a checkpoint holds, with a checksum of every file and of itself.
//
//   {"checksum": XXH64 of all that follows,
//    "format": 1, "step": 2000, "files": {"model.safetensors": {"bytes": …, "xxh64": "…"}, …},
//    "state": {…}}
#pragma once

#include <cstdint>
#include <string>

#include "heddle/io/file_operations.h"
#include "heddle/io/value.h"

namespace heddle::train {

inline constexpr const char* kManifest = "trainer_state.json";

struct Manifest {
  int64_t step = 0;
  io::Value state;
};

/// Reads back and hashes every file of the folder, and writes the manifest into it.
void write_manifest(const std::string& folder, const Manifest& manifest, io::FileOperations& files);

/// Throws an Error that says what is damaged, missing or of another step.
Manifest read_verified(const std::string& folder, int64_t step);

}  // namespace heddle::train
