#include <algorithm>

#include "heddle/attention/cpu/backward_worker.h"
#include "heddle/attention/cpu/cpu.h"

namespace heddle::attention::cpu {

namespace {

/// Whole key/value heads, one thread each, need five products a tile pair; finer items need seven,
/// since d_k, d_v and d_q then recompute the scores. True where five win by the busiest thread's
/// load. Both ways give the same bits, so the number of threads may decide.
bool whole_heads_win(const std::vector<Item>& heads, const Args& args) {
  // d_q grows in place, which only f32 can do without losing digits.
  if (args.q.dtype() != DType::f32) return false;
  std::vector<int64_t> load(static_cast<size_t>(thread_count(args.threads)), 0);
  int64_t total = 0;
  for (const Item& head : heads) {
    *std::min_element(load.begin(), load.end()) += head.cost;
    total += head.cost;
  }
  const int64_t busiest = *std::max_element(load.begin(), load.end());
  return busiest * static_cast<int64_t>(load.size()) * 5 <= total * 7;
}

/// Runs step(item, worker) over the items, with a worker a thread.
class Crew {
 public:
  Crew(const Problem& problem, const Gradients& gradients, const Kernels& kernels, BlockSize size)
      : threads_(problem.args.threads) {
    for (int t = 0; t < thread_count(threads_); ++t) {
      workers_.emplace_back(problem, gradients, kernels, size);
    }
  }

  template <typename Step>
  void run(const std::vector<Item>& items, const Step& step) {
    for_each_item(threads_, static_cast<int64_t>(items.size()), [&](int64_t index, int thread) {
      step(items[static_cast<size_t>(index)], workers_[static_cast<size_t>(thread)]);
    });
  }

 private:
  ThreadPool* threads_;
  std::vector<BackwardWorker> workers_;
};

}  // namespace

void backward(const Args& args, const Gradients& gradients, const Kernels& kernels) {
  Problem problem(args);
  const MaskPlan& plan = problem.plan();
  const int threads = thread_count(args.threads);
  const int64_t heads = problem.kv_heads();
  const int64_t key_bytes = BackwardWorker::key_side_bytes(problem);

  const std::vector<Item> whole = key_items(problem, plan, plan.key_tiles());
  if (whole_heads_win(whole, args)) {
    const int32_t block = tiles_per_block(key_bytes, plan.key_tiles() * int64_t{8}, 1);
    Crew crew(problem, gradients, kernels, {.queries = 1, .keys = block});
    crew.run(whole, [&](const Item& head, BackwardWorker& worker) {
      worker.clear_unseen_d_q(head.kv_head, plan);
      for (int32_t end = plan.key_tiles(); end > 0; end -= block) {
        const int32_t first = std::max(end - block, 0);
        worker.run_keys({head.kv_head, first, end - first, 0}, plan, true);
      }
    });
  } else {
    {
      const int32_t block = tiles_per_block(key_bytes, plan.key_tiles() * heads, threads);
      Crew crew(problem, gradients, kernels, {.queries = 1, .keys = block});
      crew.run(key_items(problem, plan, block), [&](const Item& item, BackwardWorker& worker) {
        worker.run_keys(item, plan, false);
      });
    }
    const int64_t query_tiles = plan.query_tiles() * problem.heads();
    const int32_t block =
        tiles_per_block(BackwardWorker::query_side_bytes(problem), query_tiles, threads);
    Crew crew(problem, gradients, kernels, {.queries = block, .keys = 1});
    crew.run(query_items(problem, plan, block),
             [&](const Item& item, BackwardWorker& worker) { worker.run_queries(item, plan); });
  }
  if (!args.sinks.defined()) return;
  Crew crew(problem, gradients, kernels, {.queries = 1, .keys = 0});
  std::vector<Item> all;
  for (int32_t head = 0; head < problem.heads(); ++head) all.push_back({head, 0, 1, 0});
  crew.run(all, [&](const Item& item, BackwardWorker& worker) {
    gradients.d_sinks.data<float>()[item.kv_head] = worker.d_sink(item.kv_head);
  });
}

}  // namespace heddle::attention::cpu
