#include "heddle/train/optimizer.h"

namespace heddle::train {

namespace {

class HostOptimizer : public Optimizer {
 public:
  HostOptimizer(std::span<Slot> slots, const AdamWSettings& settings, ThreadPool* threads)
      : slots_(slots), threads_(threads), adamw_(slots, settings) {}

  double gradient_norm() override { return train::gradient_norm(slots_, threads_); }
  std::string first_not_finite() override { return train::first_not_finite(slots_); }
  void update(int64_t step, double rate, double scale) override {
    adamw_.update(slots_, step, rate, scale, threads_);
  }
  bool has_average() const override { return adamw_.has_average(); }
  void swap_average() override { adamw_.swap_average(slots_); }
  std::map<std::string, Tensor> state() override { return adamw_.state(); }
  void load(const std::string& path) override { adamw_.load(path); }

 private:
  std::span<Slot> slots_;
  ThreadPool* threads_;
  AdamW adamw_;
};

}  // namespace

std::unique_ptr<Optimizer> host_optimizer(std::span<Slot> slots, const AdamWSettings& settings,
                                          ThreadPool* threads) {
  return std::make_unique<HostOptimizer>(slots, settings, threads);
}

}  // namespace heddle::train
