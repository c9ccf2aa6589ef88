// The GPU's kernels that move rows, embeddings, gradients of tables and SSRU, against the CPU's.
#include "tests/ops/cuda_rows.h"
#include "heddle/ops/embedding.h"
#include "heddle/ops/ssru.h"

namespace heddle::ops::cuda {
namespace {

using Results = std::vector<std::vector<float>>;

std::vector<int32_t> random_tokens(int64_t count, int64_t vocabulary, uint64_t seed) {
  Random random(seed);
  std::vector<int32_t> tokens;
  for (int64_t r = 0; r < count; ++r) {  // every third row reads the same token, some none
    const auto token = static_cast<int32_t>(random.between(0, vocabulary - 1));
    tokens.push_back(r % 3 == 0 ? 2 : r % 17 == 5 ? -1 : token);
  }
  return tokens;
}

TEST_F(OpsGpu, Embed) {
  constexpr int64_t kVocabulary = 77, kPositions = 19;
  Workspace workspace;
  for (const int64_t rows : {0, 1, 7, 333}) {
    for (const int64_t width : {8, 64, 512, 1000, 4096}) {
      for (const bool with_positions : {false, true}) {
        const std::string name =
            str("embed [", rows, ", ", width, "]", with_positions ? ", positions" : "");
        const HostRows table = random_rows(kVocabulary, width, 1);
        const std::vector<float> places = random_floats(kPositions * width, 2);
        const std::vector<int32_t> tokens = random_tokens(rows, kVocabulary, 3);
        std::vector<int32_t> of_row;
        for (int64_t r = 0; r < rows; ++r) of_row.push_back(static_cast<int32_t>(r % kPositions));
        const Dropout dropout = some_dropout(with_positions ? 0.1 : 0);
        const ops::Positions positions{with_positions ? places.data() : nullptr, kPositions,
                                       of_row};
        HostRows y(rows, width);
        Rows y_rows = y.view(workspace);
        ops::embed(tokens, Matrix({cases::tensor_of(table.values, {kVocabulary, width})}), 3.5f,
                   positions, {}, y_rows, workspace);
        y = dropped(dropout, y);
        const Results found = twice(name, [&]() -> Results {
          const GpuRows gpu_table(table, 0), to = GpuRows::blank(rows, width);
          const GpuArray<float> gpu_places(places);
          const GpuArray<int32_t> gpu_tokens(tokens), gpu_of_row(of_row);
          check_launch(launch_embed({.extent = {rows, width},
                                     .tokens = gpu_tokens.data(),
                                     .table = gpu_table.view().data,
                                     .scale = 3.5f,
                                     .positions = with_positions ? gpu_places.data() : nullptr,
                                     .of_row = gpu_of_row.data(),
                                     .dropout = dropout_key(dropout),
                                     .y = to.view()},
                                    gpu().stream()));
          return {to.read(name).values};
        });
        expect_near(found[0], y.values, 0x1p-8, 1e-5, name);
      }
    }
  }
}

/// Rows by the place they add to, at most kGroupRows in a group.
struct Groups {
  std::vector<int32_t> order, starts, targets;
};

Groups group(const std::vector<int32_t>& places, int32_t count) {
  Groups groups;
  for (int32_t place = 0; place < count; ++place) {
    int64_t in_group = kGroupRows;
    for (size_t r = 0; r < places.size(); ++r) {
      if (places[r] != place) continue;
      if (in_group == kGroupRows) {
        groups.starts.push_back(static_cast<int32_t>(groups.order.size()));
        groups.targets.push_back(place);
        in_group = 0;
      }
      groups.order.push_back(static_cast<int32_t>(r));
      ++in_group;
    }
  }
  groups.starts.push_back(static_cast<int32_t>(groups.order.size()));
  return groups;
}

TEST_F(OpsGpu, ScatterRows) {
  constexpr int64_t kVocabulary = 150;
  Workspace workspace;
  for (const int64_t rows : {0, 1, 7, 333, 5000}) {
    for (const int64_t width : {8, 64, 512, 1000, 4096}) {
      if (rows == 5000 && width > 512) continue;
      const std::string name = str("scatter [", rows, ", ", width, "]");
      const Dropout dropout = some_dropout(width == 64 ? 0 : 0.1);
      const HostRows d_y = random_rows(rows, width, 4);
      const std::vector<int32_t> tokens = random_tokens(rows, kVocabulary, 5);
      const std::vector<float> before = random_floats(kVocabulary * width, 6);
      std::vector<float> expected = before;
      HostRows d = dropped(dropout, d_y);
      ops::embed_backward(tokens, 0.7f, {}, width, d.plain(), {expected.data(), nullptr},
                          workspace);
      const Groups groups = group(tokens, kVocabulary);
      const Results found = twice(name, [&]() -> Results {
        const GpuRows from(d_y);
        const GpuArray<float> table(before);
        const GpuArray<int32_t> order(groups.order), starts(groups.starts), targets(groups.targets);
        const RowGroups gpu_groups{order.data(), starts.data(), targets.data(),
                                   static_cast<int32_t>(groups.targets.size())};
        const Extent extent{rows, width};
        const auto scratch = GpuArray<float>::blank(scatter_rows_scratch(extent, gpu_groups));
        check_launch(launch_scatter_rows({.extent = extent,
                                          .d_y = from.view(),
                                          .groups = gpu_groups,
                                          .scale = 0.7f,
                                          .dropout = dropout_key(dropout),
                                          .d_table = table.data(),
                                          .scratch = scratch.data()},
                                         gpu().stream()));
        scratch.read(name + ", scratch");
        return {table.read(name)};
      });
      expect_sums(found[0], expected, rows + 1, name);
    }
  }
}

TEST_F(OpsGpu, SumRows) {
  for (const int64_t width : {8, 64, 1000, 4096}) {
    for (const bool weighs : {false, true}) {
      // Rows of y with 0 to 3 rows of x, one with many, in an order that is not x's.
      std::vector<int32_t> starts{0}, order;
      for (const int32_t count : {1, 0, 0, 3, 2, 40, 0, 1}) starts.push_back(starts.back() + count);
      const int64_t count = starts.back(), rows = std::ssize(starts) - 1;
      for (int32_t i = 0; i < count; ++i)
        order.push_back((i * 11 + 3) % static_cast<int32_t>(count));
      const std::string name = str("sum rows [", rows, ", ", width, "]", weighs ? ", weighed" : "");
      const HostRows x = random_rows(count, width, 9);
      const std::vector<float> factors = random_floats(count, 10);
      HostRows y(rows, width);
      for (int64_t t = 0; t < rows; ++t) {
        for (int32_t j = starts[static_cast<size_t>(t)]; j < starts[static_cast<size_t>(t) + 1];
             ++j) {
          const int32_t i = order[static_cast<size_t>(j)];
          const float factor = weighs ? factors[static_cast<size_t>(i)] : 1;
          for (int64_t n = 0; n < width; ++n) y.row(t)[n] += factor * x.row(i)[n];
        }
      }
      const Results found = twice(name, [&]() -> Results {
        const GpuRows from(x), to = GpuRows::blank(rows, width);
        const GpuArray<int32_t> gpu_order(order), gpu_starts(starts);
        const GpuArray<float> gpu_factors(factors);
        check_launch(launch_sum_rows({.extent = {rows, width},
                                      .order = gpu_order.data(),
                                      .starts = gpu_starts.data(),
                                      .factors = weighs ? gpu_factors.data() : nullptr,
                                      .x = from.view(),
                                      .y = to.view()},
                                     gpu().stream()));
        return {to.read(name).values};
      });
      expect_near(found[0], y.values, 0x1p-8, 1e-5, name);
    }
  }
}

TEST_F(OpsGpu, SsruScan) {
  Workspace workspace;
  for (const int64_t width : {8, 64, 512, 1000}) {
    std::vector<int32_t> offsets{0};
    for (const int32_t length : {1, 0, 2, 3, 4, 5, 0, 8, 9, 120, 31}) {
      offsets.push_back(offsets.back() + length);
    }
    const int64_t rows = offsets.back(), sequences = std::ssize(offsets) - 1;
    const std::string name = str("ssru [", rows, ", ", width, "]");
    HostRows gates = random_rows(rows, 2 * width, 7, 2), d_out = random_rows(rows, width, 8);
    HostRows out(rows, width), d_gates(rows, 2 * width);
    Rows gate_rows = gates.view(workspace), out_rows = out.view(workspace);
    ops::ssru_scan(gate_rows, offsets, nullptr, out_rows, workspace);
    ops::ssru_scan_backward(gate_rows, offsets, d_out.plain(), d_gates.plain(), workspace);
    for (const bool in_place : {false, true}) {
      const Results found = twice(name, [&]() -> Results {
        const GpuRows from(gates), to = GpuRows::blank(rows, width), gpu_d_out(d_out);
        const GpuRows d_to = GpuRows::blank(rows, 2 * width, 16);
        const GpuArray<int32_t> gpu_offsets(offsets);
        const auto cells = GpuArray<float>::blank(rows * width);
        check_launch(launch_ssru_scan(
            {sequences, width, gpu_offsets.data(), from.view(), to.view()}, gpu().stream()));
        check_launch(launch_ssru_scan_backward(
            {sequences, width, gpu_offsets.data(), from.view(), gpu_d_out.view(),
             (in_place ? from : d_to).view(), cells.data()},
            gpu().stream()));
        cells.read(name + ", cells");
        return {to.read(name).values, (in_place ? from : d_to).read(name).values};
      });
      expect_near(found[0], out.values, 0x1p-8, 1e-5, name + ", out");
      expect_near(found[1], d_gates.values, 0x1p-8, 1e-4, name + ", d_gates");
    }
  }
}

}  // namespace
}  // namespace heddle::ops::cuda
