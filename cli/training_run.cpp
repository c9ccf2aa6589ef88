#include "cli/training_run.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <thread>

#include "cli/sgemm.h"
#include "heddle/base/error.h"
#include "heddle/tensor/cuda.h"
#include "heddle/train/checkpoint.h"
#include "heddle/train/progress.h"

namespace heddle::cli {

namespace {

std::atomic<bool> stop_asked{false};

void note_signal(int) {
  if (stop_asked.exchange(true)) ::_exit(130);  // the second one
}

void watch_signals() {
  struct sigaction action {};
  action.sa_handler = note_signal;
  for (const int number : {SIGINT, SIGTERM}) ::sigaction(number, &action, nullptr);
}

}  // namespace

void say(const std::string& text) { std::fprintf(stderr, "%s\n", text.c_str()); }

int threads_of(const io::Field& config) {
  const int64_t threads = config["threads"].integer(0, 1024);
  if (threads > 0) return static_cast<int>(threads);
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

Device device_of(const io::Field& config) { return device_of(config["device"].text()); }

Device device_of(const std::string& name) {
  HEDDLE_CHECK(name == "auto" || name == "cpu" || name == "cuda", "device: found '", name,
               "'; expected cpu, cuda or auto");
  constexpr int kLeast = 80;  // compute capability
  const bool there = cuda::device_count() > 0;
  const bool usable = there && cuda::compute_capability(0) >= kLeast;
  HEDDLE_CHECK(name != "cuda" || usable, "device: found cuda, but ",
               !cuda::is_built() ? "this build has no CUDA"
               : !there          ? "there is no GPU here"
                                 : "the GPU is older than compute capability 8.0",
               "; expected cpu or auto");
  return {usable && name != "cpu" ? DeviceType::cuda : DeviceType::cpu, 0};
}

double peak_flops_of(Device device, int threads) {
  if (device.type == DeviceType::cpu) return sgemm_rate(threads).value_or(0);
  const std::string name = cuda::device_name(device.index);
  const auto is = [&](const char* part) { return name.find(part) != std::string::npos; };
  if (is("H200") || is("H100 80GB HBM3")) return 989e12;
  return is("A100") ? 312e12 : 0;
}

void refuse_old_checkpoints(const io::Field& config) {
  const std::string resume = config["resume_from_checkpoint"].text();
  HEDDLE_CHECK(resume == "auto" || resume == "no", "resume_from_checkpoint: found '", resume,
               "'; expected auto or no");
  const std::string folder = config["output_dir"].text();
  const auto steps = train::Checkpoints(folder, 0).steps();
  HEDDLE_CHECK(resume == "auto" || steps.empty(), "train: found ", steps.size(), " checkpoints in ",
               folder, "; expected none with resume_from_checkpoint no");
}

void attach_run(train::TrainerHooks& hooks, ThreadPool& pool, int64_t max_steps) {
  watch_signals();
  hooks.threads = &pool;
  hooks.stop_requested = [] { return stop_asked.load(); };
  hooks.warn = [](const std::string& text) { say("warning: " + text); };
  hooks.report = [max_steps](const train::Report& report) {
    say(train::progress_line(report, max_steps));
  };
}

bool stop_requested() { return stop_asked; }

const char* name_of(train::End end) {
  switch (end) {
    case train::End::steps:
      return "all steps are done";
    case train::End::epochs:
      return "all epochs are done";
    case train::End::patience:
      return "no gain for as many validations as early_stopping_patience";
    case train::End::stopped:
      return "stopped; the same command goes on from here";
  }
  return "";
}

}  // namespace heddle::cli
