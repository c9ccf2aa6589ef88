#include "heddle/ops/workspace.h"

#include <gtest/gtest.h>

namespace heddle::ops {
namespace {

constexpr size_t kLargest = size_t{4} << 20;

TEST(Workspaces, ReservedMemoryIsOneBlock) {
  Workspace workspace(host_allocator(), kLargest);
  workspace.reserve(size_t{20} << 20);
  for (int pass = 0; pass < 2; ++pass) {
    const Workspace::Scope scope(workspace);
    for (int i = 0; i < 6; ++i) workspace.take<std::byte>(int64_t{3} << 20);  // one fits kLargest
    EXPECT_EQ(workspace.bytes(), size_t{20} << 20);
  }
}

TEST(Workspaces, ReserveKeepsWhatSuffices) {
  Workspace workspace(host_allocator(), kLargest);
  workspace.reserve(size_t{8} << 20);
  {
    const Workspace::Scope scope(workspace);
    workspace.take<std::byte>(8);
  }
  workspace.reserve(size_t{9} << 20);  // an eighth more
  EXPECT_EQ(workspace.bytes(), size_t{8} << 20);
  workspace.reserve(size_t{10} << 20);
  const Workspace::Scope scope(workspace);
  workspace.take<std::byte>(8);
  EXPECT_EQ(workspace.bytes(), size_t{10} << 20);
  workspace.reserve(size_t{90} << 20);  // something is in use
  EXPECT_EQ(workspace.bytes(), size_t{10} << 20);
}

}  // namespace
}  // namespace heddle::ops
