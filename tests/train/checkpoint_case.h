// A checkpoint with known content, and the question whether what is found is that.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "heddle/io/atomic_file.h"
#include "heddle/io/paths.h"
#include "heddle/io/source.h"
#include "heddle/train/checkpoint.h"
#include "tests/io/files.h"

namespace heddle::testing {

inline std::string content_of(int64_t step, int file) {
  return std::string(static_cast<size_t>(700 + 13 * file), static_cast<char>('a' + step % 26)) +
         std::to_string(step);
}

inline train::Checkpoints::Request request_of(int64_t step) {
  io::Value state;
  state.set("number", step * 7);
  return {{step, state}, 2000, [step](const std::string& folder, io::FileOperations& files) {
            io::write_file(io::join_path(folder, "model.safetensors"), content_of(step, 0), files);
            io::write_file(io::join_path(folder, "optimizer.safetensors"), content_of(step, 1),
                           files);
          }};
}

/// The step found, every byte of it checked; nothing when there is none.
inline std::optional<int64_t> found_in(const std::string& folder,
                                       std::vector<std::string>* damaged = nullptr) {
  std::vector<std::string> lines;
  train::Checkpoints checkpoints(folder, 2);
  const auto found = checkpoints.newest(damaged != nullptr ? *damaged : lines);
  if (!found) return {};
  const int64_t step = found->manifest.step;
  EXPECT_EQ(io::read_text(io::join_path(found->path, "model.safetensors"), 1 << 20),
            content_of(step, 0));
  EXPECT_EQ(io::read_text(io::join_path(found->path, "optimizer.safetensors"), 1 << 20),
            content_of(step, 1));
  EXPECT_EQ(*found->manifest.state.find("number")->integer(), step * 7);
  return step;
}

}  // namespace heddle::testing
