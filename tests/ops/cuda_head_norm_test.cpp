// The GPU's norms of heads, forward and backward, against the CPU's.
#include <array>

#include "heddle/ops/norm.h"
#include "tests/ops/cuda_rows.h"

namespace heddle::ops::cuda {
namespace {

using Results = std::vector<std::vector<float>>;

struct HeadCase {
  int64_t rows, heads, kv_heads, head_width;
  std::string text() const {
    return str("[", rows, ", ", heads, " and ", kv_heads, " heads of ", head_width, "]");
  }
  int64_t width() const { return (heads + 2 * kv_heads) * head_width; }
  HeadColumns columns() const { return {rows, heads, kv_heads, head_width}; }
};

// Every number of lanes, full and not; more rows than a block has groups.
constexpr HeadCase kHeadCases[] = {{0, 2, 1, 64},   {1, 1, 1, 8},    {7, 3, 3, 24},
                                   {333, 4, 2, 64}, {65, 8, 2, 96},  {33, 5, 1, 128},
                                   {40, 4, 1, 256}, {17, 2, 2, 200}, {3000, 4, 1, 32}};

/// What the CPU makes of it.
struct HostHeads {
  HostHeads(const HeadCase& of, const std::vector<float>& queries, const std::vector<float>& keys)
      : both{ops::HeadNorm{0, of.heads, of.head_width, {queries.data(), nullptr, 1e-5f}},
             ops::HeadNorm{of.heads * of.head_width,
                           of.kv_heads,
                           of.head_width,
                           {keys.data(), nullptr, 1e-5f}}} {}
  std::array<ops::HeadNorm, 2> both;
};

TEST_F(OpsGpu, NormHeads) {
  Workspace workspace;
  for (const HeadCase& each : kHeadCases) {
    HostRows x = random_rows(each.rows, each.width(), 1, 3), y(each.rows, each.width());
    const std::vector<float> queries = random_floats(each.head_width, 2, 0.2, 1),
                             keys = random_floats(each.head_width, 3, 0.2, 1);
    const HostHeads host(each, queries, keys);
    if (each.rows > 0) {
      Rows y_rows = y.view(workspace);
      norm_heads(x.view(workspace), host.both, y_rows, workspace);
    }
    for (const bool in_place : {false, true}) {
      const std::string name = "head norms " + each.text() + (in_place ? ", in place" : "");
      const Results found = twice(name, [&]() -> Results {
        const GpuRows from(x), to = GpuRows::blank(each.rows, each.width());
        const GpuArray<float> query_weight(queries), key_weight(keys);
        check_launch(launch_norm_heads({.columns = each.columns(),
                                        .x = from.view(),
                                        .y = in_place ? from.view() : to.view(),
                                        .query_weight = query_weight.data(),
                                        .key_weight = key_weight.data(),
                                        .epsilon = 1e-5f},
                                       gpu().stream()));
        return {(in_place ? from : to).read(name).values};
      });
      expect_near(found[0], y.values, 0x1p-8, 1e-6, name);
    }
  }
}

TEST_F(OpsGpu, NormHeadsBackward) {
  Workspace workspace;
  for (const HeadCase& each : kHeadCases) {
    HostRows x = random_rows(each.rows, each.width(), 4, 3),
             d_y = random_rows(each.rows, each.width(), 5), d_x(each.rows, each.width());
    const std::vector<float> queries = random_floats(each.head_width, 6, 0.2, 1),
                             keys = random_floats(each.head_width, 7, 0.2, 1),
                             before = random_floats(each.head_width, 8);
    const HostHeads host(each, queries, keys);
    std::vector<float> d_queries = before, d_keys = before;
    if (each.rows > 0) {
      const std::array<float*, 2> d_weights{d_queries.data(), d_keys.data()};
      norm_heads_backward(x.view(workspace), host.both, d_y.plain(), d_x.plain(), d_weights,
                          workspace);
    }
    for (const bool trains : {true, false}) {
      const std::string name = "head norms backward " + each.text() + (trains ? "" : ", frozen");
      const Results found = twice(name, [&]() -> Results {
        const GpuRows from(x), d(d_y);
        const GpuArray<float> query_weight(queries), key_weight(keys), d_query(before),
            d_key(before);
        const auto scratch = GpuArray<float>::blank(norm_heads_scratch(each.columns()));
        check_launch(launch_norm_heads_backward({.columns = each.columns(),
                                                 .x = from.view(),
                                                 .d = d.view(),
                                                 .query_weight = query_weight.data(),
                                                 .key_weight = key_weight.data(),
                                                 .epsilon = 1e-5f,
                                                 .d_query_weight = d_query.data(),
                                                 .d_key_weight = d_key.data(),
                                                 .scratch = trains ? scratch.data() : nullptr},
                                                gpu().stream()));
        scratch.read(name + ", scratch");
        return {d.read(name).values, d_query.read(name), d_key.read(name)};
      });
      expect_near(found[0], each.rows > 0 ? d_x.values : d_y.values, 0x1p-8, 1e-5, name);
      const int64_t terms = each.rows * each.heads + 1;
      expect_sums(found[1], trains ? d_queries : before, terms, name + ", d_queries");
      expect_sums(found[2], trains ? d_keys : before, terms, name + ", d_keys");
    }
  }
}

}  // namespace
}  // namespace heddle::ops::cuda
