// The GPU rows of the table against the reference, over families × lengths × head dims × GQA ×
// dtypes. HEDDLE_GPU_TEST=small keeps to cases that run under compute-sanitizer.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "heddle/base/random.h"
#include "heddle/mask/builders.h"
#include "heddle/mask/families.h"
#include "tests/attention/gpu_case.h"

namespace heddle::test {
namespace {

bool is_small_run() {
  const char* size = std::getenv("HEDDLE_GPU_TEST");
  return size != nullptr && std::string_view(size) == "small";
}

class AttentionGpu : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda::device_count() == 0) GTEST_SKIP() << "no GPU";
  }
  void TearDown() override {
    if (!IsSkipped()) std::printf("  %s\n", worst_so_far().c_str());
  }
};

/// Runs one case; an exception is one failure, not the end of the test.
void check(const ColumnMask& mask, const CaseShape& shape, const std::string& name) {
  SCOPED_TRACE(name);
  try {
    GpuCase problem(mask, shape, gpu());
    expect_correct(problem);
  } catch (const Error& error) {
    ADD_FAILURE() << error.what();
  }
}

/// Head dims, groups and dtypes in turn, so that neighbouring cases differ in all of them.
CaseShape shape_for(int64_t turn) {
  constexpr int64_t kHeadDims[] = {64, 128, 80, 256, 64, 128, 16, 200};
  constexpr int64_t kGroups[] = {1, 4, 8, 1, 2};
  CaseShape shape;
  shape.head_dim = kHeadDims[turn % 8];
  const int64_t group = kGroups[turn % 5];
  shape.kv_heads = group == 8 ? 1 : 2;
  shape.heads = group * shape.kv_heads;
  shape.dtype = turn % 3 == 0 ? DType::f16 : DType::bf16;
  shape.deterministic = turn % 7 == 3;
  shape.seed = static_cast<uint64_t>(turn) + 1;
  return shape;
}

TEST_F(AttentionGpu, OneTile) {
  for (const int64_t head_dim : {64, 128, 256}) {
    for (const DType dtype : {DType::bf16, DType::f16}) {
      for (const int64_t length : {1, 8, 64, 128}) {
        if (is_small_run() && (dtype == DType::f16 || length == 8 || length == 64)) continue;
        CaseShape shape;
        shape.head_dim = head_dim;
        shape.dtype = dtype;
        shape.heads = shape.kv_heads = 1;
        for (const bool deterministic : {false, true}) {
          shape.deterministic = deterministic;
          check(masks::full(length, length), shape, str("full ", length));
          check(masks::causal(length), shape, str("causal ", length));
        }
      }
    }
  }
}

TEST_F(AttentionGpu, FamiliesOverLengths) {
  std::vector<int64_t> lengths{2,   3,   7,   16,  31,  63,  65,   100, 127,
                               129, 191, 256, 333, 512, 777, 1024, 1500};
  if (is_small_run()) lengths = {7, 129, 200};
  int64_t turn = 0;
  for (const std::string_view name : masks::family_names()) {
    for (const int64_t length : lengths) {
      const CaseShape shape = shape_for(turn++);
      try {
        check(masks::family(name, length, shape.kv_heads, shape.seed), shape, std::string(name));
      } catch (const Error& error) {
        ADD_FAILURE() << name << " " << length << ": " << error.what();
      }
    }
  }
}

TEST_F(AttentionGpu, FamiliesOverShapes) {
  if (is_small_run()) GTEST_SKIP();
  constexpr int64_t kLength = 421;
  for (const std::string_view name : masks::family_names()) {
    for (const int64_t head_dim : {64, 80, 128, 256}) {
      for (const int64_t group : {1, 4, 8}) {
        for (const DType dtype : {DType::bf16, DType::f16}) {
          CaseShape shape;
          shape.kv_heads = 2;
          shape.heads = group * 2;
          shape.head_dim = head_dim;
          shape.dtype = dtype;
          check(masks::family(name, kLength, 2, 5), shape, std::string(name));
        }
      }
    }
  }
}

TEST_F(AttentionGpu, LongFamilies) {
  if (is_small_run()) GTEST_SKIP();
  int64_t turn = 0;
  for (const std::string_view name : masks::family_names()) {
    for (const int64_t length : {4096, 16384}) {
      CaseShape shape;
      shape.head_dim = turn++ % 2 == 0 ? 128 : 64;
      shape.heads = length > 8192 ? 1 : 2;
      shape.kv_heads = 1;
      check(masks::family(name, length, 1, 3), shape, std::string(name));
    }
  }
}

TEST_F(AttentionGpu, UnequalLengths) {
  int64_t turn = 0;
  const std::vector<std::pair<int64_t, int64_t>> sizes{{1, 300},   {300, 1},   {65, 200}, {200, 65},
                                                       {129, 513}, {513, 129}, {1000, 77}};
  for (const auto& [rows, keys] : sizes) {
    check(masks::full(rows, keys), shape_for(turn++), "full");
    if (is_small_run()) continue;
    check(masks::causal_with_offset(rows, keys, keys - rows), shape_for(turn++), "bottom right");
    check(masks::causal_with_offset(rows, keys, 3), shape_for(turn++), "offset 3");
    check(masks::valid_rows(rows, keys, rows / 2), shape_for(turn++), "half padding");
    check(masks::cross_document({rows / 2, rows - rows / 2}, {keys / 3, keys - keys / 3}),
          shape_for(turn++), "cross document");
  }
}

TEST_F(AttentionGpu, BlindRowsAndColumns) {
  int64_t turn = 0;
  for (const int64_t length : {1, 65, 300}) {
    check(masks::valid_rows(length, length, 0), shape_for(turn++), "all dead");
    MaskParts parts{.query_length = length, .key_length = length, .heads = 1, .causal = true};
    Random random(static_cast<uint64_t>(length));
    for (int64_t key = 0; key < length; ++key) {  // random gaps, many columns seen by nobody
      const bool dead = random.below(3) == 0;
      const int64_t begin = dead ? 0 : random.between(0, length);
      const int64_t end = dead ? length : random.between(begin, length);
      parts.lts.push_back(static_cast<int32_t>(begin));
      parts.lte.push_back(static_cast<int32_t>(end));
      const int64_t upper = random.between(0, length);
      parts.uts.push_back(static_cast<int32_t>(upper));
      parts.ute.push_back(static_cast<int32_t>(random.between(upper, length)));
    }
    for (const bool causal : {false, true}) {
      parts.causal = causal;
      for (int i = 0; i < 4; ++i) check(ColumnMask(parts), shape_for(turn++), "random gaps");
    }
  }
  check(masks::causal_document(masks::Lengths(200, 3)), shape_for(turn++), "tiny documents");
  check(masks::document(masks::Lengths(600, 1)), shape_for(turn++), "documents of one");
}

TEST_F(AttentionGpu, Options) {
  int64_t turn = 0;
  for (const int64_t length : {33, 200}) {
    for (int options = 1; options < 16; ++options) {
      if (is_small_run() && (options < 14 || length > 100)) continue;
      CaseShape shape = shape_for(turn++);
      if (options & 1) shape.softcap = 20;
      shape.sinks = (options & 2) != 0;
      shape.slopes = (options & 4) != 0;
      if (options & 8) shape.scale = options & 1 ? -0.3 : 0.2;
      check(masks::causal_document({length / 2, length - length / 2}), shape, "options");
      check(masks::valid_rows(length, length, length - 5), shape, "options");
    }
  }
  CaseShape shape;
  shape.scale = -0.1;
  check(masks::causal(150), shape, "negative scale");
}

TEST_F(AttentionGpu, FullLength128K) {
  if (is_small_run()) GTEST_SKIP();
  CaseShape shape;
  shape.heads = shape.kv_heads = 1;
  check(masks::family("causal-document", 131072, 1, 1), shape, "causal document");
}

}  // namespace
}  // namespace heddle::test
