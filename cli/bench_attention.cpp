// `heddle bench attention`: attention under the paper's mask families, skipping on and off.
#include <malloc.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <numeric>
#include <string_view>

#include "cli/bench_gpu.h"
#include "cli/bench_report.h"
#include "cli/commands.h"
#include "cli/lists.h"
#include "cli/read_rate.h"
#include "cli/sgemm.h"
#include "heddle/attention/table.h"
#include "heddle/base/random.h"
#include "heddle/base/timer.h"
#include "heddle/mask/algebra.h"
#include "heddle/mask/builders.h"
#include "heddle/mask/families.h"

namespace heddle::cli {

namespace {

constexpr TileShape kTile{64, 64};  // what the CPU kernels use, and what the tile figure counts
constexpr int64_t kFewRows = 16;    // up to here memory bounds the forward pass

struct Options {
  std::string device = "cpu";
  std::string families = "all";
  std::string documents;
  std::string lengths = "1024,8192";
  std::string heads = "8";
  std::string head_dims = "64";
  std::optional<int64_t> kv_heads;
  std::optional<int64_t> queries;
  std::optional<int64_t> threads;
  int64_t repeats = 3;
  int64_t seed = 1;
  std::string implementation;
  bool no_dense = false;
  bool deterministic = false;
  std::optional<std::string> json, svg;
};

struct NamedMask {
  std::string name;
  ColumnMask mask;
};

std::vector<std::string> families_of(const std::string& text) {
  std::vector<std::string> names;
  if (text == "all") {
    for (const std::string_view name : masks::family_names()) names.emplace_back(name);
    return names;
  }
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    if (end > at) names.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return names;
}

std::vector<NamedMask> masks_of(const Options& options, int64_t length, int64_t kv_heads) {
  std::vector<NamedMask> list;
  if (options.families != "none") {
    for (const std::string& name : families_of(options.families)) {
      list.push_back(
          {name, masks::family(name, length, kv_heads, static_cast<uint64_t>(options.seed))});
    }
  }
  if (options.documents.empty()) return list;
  for (const int64_t count : number_list("--documents", options.documents)) {
    HEDDLE_CHECK(count >= 1 && count <= length, "--documents: found ", count,
                 "; expected 1 … T = ", length);
    masks::Lengths lengths;
    for (int64_t d = 0; d < count; ++d) {
      lengths.push_back(length * (d + 1) / count - length * d / count);
    }
    list.push_back({str(count, " causal documents"), masks::causal_document(lengths)});
  }
  return list;
}

/// The last query rows of a mask: what a decoder asks for.
ColumnMask last_rows(const ColumnMask& mask, int64_t count) {
  HEDDLE_CHECK(count >= 1 && count <= mask.query_length(), "--queries: found ", count,
               "; expected 1 … T = ", mask.query_length());
  std::vector<int32_t> rows(static_cast<size_t>(count));
  std::iota(rows.begin(), rows.end(), mask.query_length() - static_cast<int32_t>(count));
  return masks::select_rows(mask, rows);
}

Tensor random_tensor(const Shape& shape, uint64_t seed) {
  Tensor tensor = Tensor::empty(shape, DType::f32);
  Random random(seed);
  for (int64_t i = 0; i < shape.elements(); ++i) {
    tensor.data<float>()[i] = static_cast<float>(2 * random.uniform() - 1);
  }
  return tensor;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// A line of /proc/self/status in bytes, or 0 where there is no such file.
int64_t status_bytes(std::string_view name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(name))
      return std::strtoll(line.c_str() + name.size() + 1, nullptr, 10) * 1024;
  }
  return 0;
}

/// Most memory that the call takes above what is in use before.
template <typename Call>
int64_t peak_bytes_of(const Call& call) {
  malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << "5\n";  // starts a new peak
  const int64_t before = status_bytes("VmRSS");
  call();
  return std::max<int64_t>(status_bytes("VmHWM") - before, 0);
}

/// One case: its tensors and its measurements.
class Measurement {
 public:
  Measurement(const Options& options, const NamedMask& named, BenchResult shape,
              ThreadPool& threads)
      : options_(options), mask_(named.mask), result_(std::move(shape)) {
    const auto [name, length, heads, kv_heads, head_dim] =
        std::tie(result_.mask, result_.length, result_.heads, result_.kv_heads, result_.head_dim);
    const int64_t rows = mask_.query_length();
    args_.q = random_tensor({rows, heads, head_dim}, 1);       // [Tq, H, E]
    args_.k = random_tensor({length, kv_heads, head_dim}, 2);  // [T, K, E]
    args_.v = random_tensor({length, kv_heads, head_dim}, 3);  // [T, K, E]
    args_.out = Tensor::zeros({rows, heads, head_dim}, DType::f32);
    args_.lse = Tensor::zeros({heads, rows}, DType::f32);
    args_.mask = &mask_;
    args_.threads = &threads;
    gradients_.d_out = random_tensor(args_.out.shape(), 4);
    gradients_.d_q = Tensor::zeros(args_.q.shape(), DType::f32);
    gradients_.d_k = Tensor::zeros(args_.k.shape(), DType::f32);
    gradients_.d_v = Tensor::zeros(args_.v.shape(), DType::f32);
  }

  BenchResult run() {
    using attention::Pass;
    const auto row = [&](Pass pass) {
      return std::string(attention::implementation_for(args_, pass, options_.implementation).name);
    };
    result_.forward.implementation = row(Pass::forward);
    result_.backward.implementation = row(Pass::backward);
    const double per_mask_head = static_cast<double>(result_.heads) / mask_.heads();
    result_.density = mask_.density();
    result_.visible_pairs = static_cast<double>(mask_.visible_pairs()) * per_mask_head;
    // The first call also builds the plan: that memory counts.
    result_.peak_bytes = peak_bytes_of([&] { forward(); });
    result_.peak_bytes = std::max(result_.peak_bytes, peak_bytes_of([&] { backward(); }));

    const MaskPlan plan(mask_, kTile), dense = MaskPlan::without_skipping(mask_, kTile);
    const TileCounts counts = plan.counts();
    const double live = static_cast<double>(counts.full + counts.partial) * per_mask_head;
    const int64_t rows = std::min<int64_t>(kTile.rows, mask_.query_length());
    result_.tile_elements = live * static_cast<double>(rows * kTile.keys);
    if (mask_.query_length() <= kFewRows) measure_reading(live);
    std::vector<double> on[2], off[2], gemm;
    for (int64_t n = 0; n < options_.repeats; ++n) {  // all in turn: drift hits each
      if (const auto rate = sgemm_rate(args_.threads->threads())) gemm.push_back(*rate);
      time_both(plan, on);
      if (!options_.no_dense) time_both(dense, off);
    }
    if (!gemm.empty()) result_.sgemm_rate = median(gemm);
    result_.forward.skipping = median(on[0]);
    result_.backward.skipping = median(on[1]);
    if (!options_.no_dense) {
      result_.forward.dense = median(off[0]);
      result_.backward.dense = median(off[1]);
    }
    return result_;
  }

 private:
  void measure_reading(double live_tiles) {
    const double tokens = live_tiles * kTile.keys / static_cast<double>(result_.heads) *
                          static_cast<double>(result_.kv_heads);
    result_.key_value_bytes = 2 * tokens * static_cast<double>(result_.head_dim) * sizeof(float);
    result_.read_rate = read_rate(*args_.threads);
  }

  void forward() { attention::forward(args_, options_.implementation); }
  void backward() { attention::backward(args_, gradients_, options_.implementation); }

  void time_both(const MaskPlan& plan, std::vector<double> (&seconds)[2]) {
    args_.plan = &plan;
    const Timer first;
    forward();
    seconds[0].push_back(first.seconds());
    const Timer second;
    backward();
    seconds[1].push_back(second.seconds());
  }

  const Options& options_;
  ColumnMask mask_;
  BenchResult result_;
  attention::Args args_;
  attention::Gradients gradients_;
};

void write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  HEDDLE_CHECK(file.good(), "bench: cannot write ", path);
}

void run(const Options& options) {
  const bool on_gpu = options.device == "cuda";
  HEDDLE_CHECK(on_gpu || options.device == "cpu", "bench: device is ", options.device,
               "; expected cpu or cuda");
  HEDDLE_CHECK(!on_gpu || !options.queries, "--queries: found with device cuda; expected cpu");
  HEDDLE_CHECK(options.repeats >= 1, "--repeats: found ", options.repeats, "; expected 1 or more");
  ThreadPool threads(static_cast<int>(options.threads.value_or(0)));
  std::vector<BenchResult> results;
  for (const int64_t length : number_list("--lengths", options.lengths)) {
    for (const int64_t heads : number_list("--heads", options.heads)) {
      const int64_t kv_heads = options.kv_heads.value_or(heads);
      for (const int64_t head_dim : number_list("--head-dims", options.head_dims)) {
        for (NamedMask& named : masks_of(options, length, kv_heads)) {
          if (options.queries) named.mask = last_rows(named.mask, *options.queries);
          const BenchResult shape{.mask = named.name,
                                  .length = length,
                                  .heads = heads,
                                  .kv_heads = kv_heads,
                                  .head_dim = head_dim,
                                  .density = 0,
                                  .visible_pairs = 0,
                                  .tile_elements = 0,
                                  .forward = {},
                                  .backward = {}};
          results.push_back(on_gpu ? measure_on_gpu(named.mask, shape,
                                                    {options.repeats, options.implementation,
                                                     options.deterministic})
                                   : Measurement(options, named, shape, threads).run());
        }
      }
    }
  }
  const std::string json = bench_json(results, threads.threads());
  if (options.svg) write_file(*options.svg, bench_plot(results));
  if (options.json && *options.json != "-") write_file(*options.json, json);
  print(options.json && *options.json == "-" ? json : bench_table(results));
}

}  // namespace

void add_bench_command(const Command& parent) {
  const Command bench = parent.add_command("bench", "Measure speed and memory");
  const Command command =
      bench.add_command("attention", "Attention under the mask families, skipping on and off");
  static Options options;
  command.option("--device", options.device, "Where to run: cpu or cuda", "NAME");
  command.option("--families", options.families, "Mask families, all or none", "LIST");
  command.option("--documents", options.documents,
                 "Also causal masks of so many equal documents: a sweep over densities", "LIST");
  command.option("--lengths", options.lengths, "Tokens", "LIST");
  command.option("--heads", options.heads, "Query heads", "LIST");
  command.option("--kv-heads", options.kv_heads, "Key/value heads (default: as many as --heads)");
  command.option("--head-dims", options.head_dims, "Head dimensions", "LIST");
  command.option("--queries", options.queries, "Query rows: the last of each mask (default: all)");
  command.option("--threads", options.threads, "Threads (default: one a processor)");
  command.option("--repeats", options.repeats, "Calls to take the median of");
  command.option("--seed", options.seed, "Of the random masks");
  command.option("--implementation", options.implementation, "Force a row of the table", "NAME");
  command.flag("--no-dense", options.no_dense, "Do not measure with skipping off");
  command.flag("--deterministic", options.deterministic,
               "On a GPU: a backward with the same bits in every run");
  command.option("--json", options.json, "Write JSON; - for the standard output", "FILE");
  command.option("--svg", options.svg, "Plot time against density", "FILE");
  command.footer(
      "Example: heddle bench attention --families none --documents 1,2,4,8,16,32 --lengths 8192 "
      "--svg sweep.svg");
  command.run([] { run(options); });
}

}  // namespace heddle::cli
