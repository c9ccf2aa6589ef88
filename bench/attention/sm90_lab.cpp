// Laboratory of the Hopper kernels: checks sampled rows against double precision, then times.
//
//   sm90_lab               every group, each in a process of its own: a crash or a hang ends one
//   group sm90_lab masks bench   only these groups
//
// Build: bench/attention/build_lab.sh
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "heddle/mask/builders.h"
#include "heddle/mask/families.h"
#include "sm90_lab.h"

namespace {

using namespace lab;
namespace masks = heddle::masks;

int failures = 0;

struct Errors {
  double out = 0, square = 0, reference_square = 0, lse = 0;
  int bad = 0;  // rows that see nothing but are not 0 / −inf, NaN, writes past the end
};

std::vector<int> sampled_rows(int length) {
  std::vector<int> rows;
  for (const int row :
       {0,           1,          7,         8,   15,  16,  63,  64,           65,
        127,         128,        129,       191, 192, 255, 256, length - 129, length - 128,
        length - 65, length - 2, length - 1}) {
    if (row >= 0 && row < length) rows.push_back(row);
  }
  for (int i = 0; i < 27; ++i) rows.push_back(static_cast<int>(2654435761u * (i + 1) % length));
  return rows;
}

Errors compare(Problem& problem) {
  const Sizes& sizes = problem.sizes;
  const std::vector<uint16_t> out = problem.out.host();
  std::vector<float> lse(problem.lse.bytes() / 4);
  problem.lse.download(lse.data());
  const int length = static_cast<int>(problem.q.tokens);
  const std::vector<int> rows = sampled_rows(length);
  std::vector<Errors> each(rows.size());
  parallel_for(static_cast<int>(rows.size()), [&](int i) {
    const int batch = i % sizes.batches, head = (i / sizes.batches * 5 + i) % sizes.heads;
    const RowReference reference = problem.reference(batch, head, rows[i]);
    Errors& e = each[i];
    const float found = lse[(int64_t{batch} * sizes.heads + head) * length + rows[i]];
    const bool blind = std::isinf(reference.lse);
    if (blind ? found != -INFINITY : !std::isfinite(found)) ++e.bad;
    if (!blind) e.lse = std::abs(found - reference.lse);
    for (int c = 0; c < sizes.head_dim; ++c) {
      const double x = to_float(out[problem.out.at(batch, rows[i], head) + c], sizes.bf16);
      const double error = std::abs(x - reference.out[c]);
      if (std::isnan(x) || (blind && x != 0)) ++e.bad;
      e.out = std::max(e.out, error);
      e.square += error * error;
      e.reference_square += reference.out[c] * reference.out[c];
    }
  });
  Errors sum;
  for (const Errors& e : each) {
    sum.out = std::max(sum.out, e.out);
    sum.lse = std::max(sum.lse, e.lse);
    sum.square += e.square;
    sum.reference_square += e.reference_square;
    sum.bad += e.bad;
  }
  for (int batch = 0; batch < sizes.batches; ++batch) {  // the rows past T must be as they were
    for (size_t i = problem.out.at(batch, length, 0); i < problem.out.at(batch + 1, 0, 0); ++i) {
      sum.bad += out[i] != 0xffff;
    }
  }
  return sum;
}

void report(const std::string& name, const Errors& e, bool bf16) {
  const double relative = std::sqrt(e.square / std::max(e.reference_square, 1e-30));
  const bool good = relative <= (bf16 ? 3.0e-3 : 3.8e-4) && e.lse <= 1e-4 && e.bad == 0;
  failures += !good;
  std::printf("%-4s %-58s max %.2e  rel-rmse %.2e  lse %.1e  bad %d\n", good ? "ok" : "FAIL",
              name.c_str(), e.out, relative, e.lse, e.bad);
  std::fflush(stdout);
}

void test(const std::string& name, std::vector<const ColumnMask*> columns, Sizes sizes,
          Options options = {}, int blocks = 0) {
  set_current(name);
  Problem problem(std::move(columns), sizes, options);
  const Plan plan(problem.masks, forward_tile(sizes), true);
  launch(params_of(problem, plan), blocks);
  wait_for_gpu();
  problem.fetch();
  report(name, compare(problem), sizes.bf16);
}

void test(const std::string& name, const ColumnMask& mask, Sizes sizes, Options options = {},
          int blocks = 0) {
  test(name, std::vector<const ColumnMask*>{&mask}, sizes, options, blocks);
}

// ---- Groups ------------------------------------------------------------------------------------

void smoke() {
  test("full 128x128, one tile", masks::full(128, 128), {});
  test("full 64x64, cut tile", masks::full(64, 64), {});
  test("full 128x256", masks::full(128, 256), {});
  test("full 128x384", masks::full(128, 384), {});
  test("full 128x1024", masks::full(128, 1024), {});
  test("full 512x512 2 heads", masks::full(512, 512), {1, 2, 2});
  test("causal 128", masks::causal(128), {});
  test("causal 512", masks::causal(512), {});
  test("causal 1024, all work in one block", masks::causal(1024), {1, 2, 2}, {}, 1);
  test("causal 2048, 8 heads", masks::causal(2048), {1, 8, 8});
  test("causal 4096, 16 heads, 2 sequences", masks::causal(4096), {2, 16, 16});
}

void shapes() {
  for (const int length : {1, 2, 17, 63, 65, 127, 129, 255, 1000, 1023, 2047}) {
    test("causal T=" + std::to_string(length), masks::causal(length), {1, 2, 2});
    test("full T=" + std::to_string(length), masks::full(length, length), {1, 2, 2});
  }
  for (const auto& [rows, keys] : {std::pair{1, 1000}, {77, 513}, {513, 77}, {300, 1025}, {1, 1}}) {
    const std::string name = std::to_string(rows) + "x" + std::to_string(keys);
    test("full " + name, masks::full(rows, keys), {1, 2, 2});
    test("causal bottom-right " + name, masks::causal_with_offset(rows, keys, keys - rows),
         {1, 2, 2});
  }
  for (const int group : {1, 4, 8}) {
    test("causal 777, GQA 1:" + std::to_string(group), masks::causal(777), {2, 8, 8 / group});
  }
}

void families() {
  for (const int length : {300, 1000, 2048, 4096}) {
    for (const std::string_view name : masks::family_names()) {
      test(std::string(name) + " T=" + std::to_string(length), masks::family(name, length, 2, 7),
           {1, 4, 2});
    }
  }
  const ColumnMask a = masks::family("causal-document", 1500, 1, 1),
                   b = masks::family("causal-document", 1500, 1, 2), c = masks::causal(1500);
  test("three masks, three sequences", {&a, &b, &c}, {3, 4, 2});
  test("local window", masks::local_window(1500, 40, 300), {1, 2, 2});
  test("cross document", masks::cross_document({100, 0, 300, 57}, {200, 30, 1, 700}), {1, 2, 2});
  test("40 short documents", masks::document(masks::Lengths(40, 31)), {1, 2, 2});
  test("image prefix and window", masks::image_prefix_window(2000, 300, 200), {1, 2, 2});
}

void other_types() {
  for (const int dim : {64, 128, 256}) {
    for (const bool bf16 : {true, false}) {
      const std::string kind = " d" + std::to_string(dim) + (bf16 ? " bf16" : " f16");
      test("causal 1000" + kind, masks::causal(1000), {1, 4, 2, dim, bf16});
      test("full 1024" + kind, masks::full(1024, 1024), {1, 4, 2, dim, bf16});
      test("share question 2048" + kind, masks::family("shared-question", 2048, 1, 3),
           {1, 4, 2, dim, bf16});
    }
  }
  for (const int dim : {8, 40, 80, 96, 120, 136, 192, 248}) {
    test("causal 500 d" + std::to_string(dim), masks::causal(500), {2, 4, 2, dim});
  }
}

void options() {
  const ColumnMask mask = masks::family("causal-document", 1000, 1, 5);
  test("soft-cap 2", mask, {1, 4, 2}, {0, 2.0});
  test("ALiBi", mask, {1, 4, 2}, {0, 0, false, true});
  test("sinks", mask, {1, 4, 2}, {0, 0, true});
  test("sinks far above the scores", mask, {1, 4, 2}, {0, 0, true, false, 200});
  test("all three", mask, {1, 4, 2}, {0, 5.0, true, true});
  test("ALiBi 300x1000", masks::causal_with_offset(300, 1000, 700), {1, 4, 2}, {0, 0, false, true});
  test("negative scale", mask, {1, 4, 2}, {-0.1});
  test("scale 2", mask, {1, 4, 2}, {2.0});
}

/// NaN in tiles that nobody sees; finite poison in hidden columns of live tiles; blind rows.
void hostile() {
  constexpr int kLength = 1024;
  std::vector<int32_t> lts(kLength, kLength), lte(kLength, kLength);
  for (int key = 256; key < 512; ++key) lts[key] = 0;  // whole tiles
  for (int key = 600; key < 620; ++key) lts[key] = 0;  // inside a tile
  for (int key = 0; key < kLength; ++key) {
    if (lts[key] == kLength) lts[key] = 700, lte[key] = 731;  // rows 700–730 see nothing
  }
  const ColumnMask mask({kLength, kLength, 1, false, 0, lts, lte, {}, {}});
  const Plan plan({&mask}, forward_tile({}), true);
  const auto outcome = [&](bool poisoned) {
    Problem problem({&mask}, {1, 2, 2});
    set_current(poisoned ? "poisoned" : "clean");
    wait_for_gpu();
    for (Operand* operand : {&problem.k, &problem.v}) {
      if (!poisoned) break;
      auto data = operand->host();
      for (int key = 0; key < kLength; ++key) {
        if (lts[key] != 0) continue;
        for (size_t i = operand->at(0, key, 0); i < operand->at(0, key + 1, 0); ++i) {
          data[i] = key < 512 ? 0x7fff : 0x461c;  // NaN, or 1e4
        }
      }
      operand->memory.upload(data.data(), data.size() * 2);
    }
    launch(params_of(problem, plan));
    wait_for_gpu();
    problem.fetch();
    report(poisoned ? "hidden keys poisoned" : "hidden keys clean", compare(problem), true);
    auto bits = problem.out.host();
    return bits;
  };
  const auto clean = outcome(false), poisoned = outcome(true);
  const bool same = clean == poisoned;
  failures += !same;
  std::printf("%-4s poison changes no bit\n", same ? "ok" : "FAIL");

  const ColumnMask nothing({500, 500, 1, false, 0, std::vector<int32_t>(500, 0), {}, {}, {}});
  test("nobody sees anything", nothing, {1, 2, 2});
  test("30 valid rows of 500", masks::valid_rows(500, 700, 30), {1, 2, 2});
}

/// Two launches in a row on one queue, and any number of blocks, give the same bits.
void repeat() {
  for (const std::string_view name : {"causal", "global-sliding", "random-eviction"}) {
    const ColumnMask mask = masks::family(name, 3000, 2, 11);
    Problem problem({&mask}, {1, 8, 2});
    const Plan plan({&mask}, forward_tile({}), true);
    std::vector<uint16_t> first;
    bool same = true;
    for (int run = 0; run < 12; ++run) {
      set_current("repeat " + std::string(name) + " run " + std::to_string(run));
      problem.out.memory.fill(0xff);
      launch(params_of(problem, plan, run % 3), run % 4 == 3 ? 7 : multiprocessors());
      wait_for_gpu();
      const auto bits = problem.out.host();
      if (run == 0) first = bits;
      same = same && bits == first;
    }
    failures += !same;
    std::printf("%-4s 12 runs of %s equal to the bit\n", same ? "ok" : "FAIL",
                std::string(name).c_str());
  }
}

/// The plan made on the GPU against the one made on the host.
void gpu_plan() {
  for (const std::string_view name : masks::family_names()) {
    for (const int length : {300, 5000}) {
      const ColumnMask mask = masks::family(name, length, 2, 7);
      const Plan host({&mask}, forward_tile({}), true);
      const size_t lists = size_t(mask.heads()) * host.bits.tiles;
      Memory words(lists * host.bits.words_per_tile * 8, 0xff), counts(lists * 4, 0xff),
          order(lists * 4, 0xff);
      attention::TileBits bits = host.bits;
      bits.words = words.as<heddle::cuda::TileWord>();
      bits.counts = counts.as<int32_t>();
      bits.order = order.as<int32_t>();
      set_current("plan of " + std::string(name));
      LAB_CHECK(static_cast<cudaError_t>(
          heddle::cuda::launch_plan(host.columns, heddle::cuda::TileAxis::query, bits, nullptr)));
      wait_for_gpu();
      const auto equal = [](const void* a, const void* b, size_t bytes) {
        std::vector<char> left(bytes), right(bytes);
        LAB_CHECK(cudaMemcpy(left.data(), a, bytes, cudaMemcpyDeviceToHost));
        LAB_CHECK(cudaMemcpy(right.data(), b, bytes, cudaMemcpyDeviceToHost));
        return left == right;
      };
      const bool same = equal(words.as<void>(), host.bits.words, words.bytes()) &&
                        equal(counts.as<void>(), host.bits.counts, counts.bytes()) &&
                        equal(order.as<void>(), host.bits.order, order.bytes());
      failures += !same;
      std::printf("%-4s GPU plan of %s T=%d\n", same ? "ok" : "FAIL", std::string(name).c_str(),
                  length);
    }
  }
}

struct Group {
  const char* name;
  void (*run)();
};

constexpr Group kGroups[] = {
    {"smoke", smoke},           {"shapes", shapes},           {"families", families},
    {"types", other_types},     {"options", options},         {"hostile", hostile},
    {"repeat", repeat},         {"plan", gpu_plan},           {"dense", bench_dense},
    {"masked", bench_families}, {"sections", bench_sections}, {"quick", bench_quick},
};

}  // namespace

int main(int argc, char** argv) {
  int bad_groups = 0;
  for (const Group& group : kGroups) {
    bool wanted = argc < 2;
    for (int i = 1; i < argc; ++i) wanted = wanted || std::strcmp(argv[i], group.name) == 0;
    if (!wanted) continue;
    std::printf("== %s\n", group.name);
    std::fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
      group.run();
      std::fflush(stdout);
      _exit(failures > 0 ? 1 : 0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    bad_groups += code != 0;
    std::printf("== %s: %s (%d)\n", group.name, code == 0 ? "good" : "BAD", code);
    std::fflush(stdout);
  }
  std::printf("%d bad groups\n", bad_groups);
  return bad_groups > 0 ? 1 : 0;
}
