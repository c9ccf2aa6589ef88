// What every training on the command line has: signals, devices, lines of progress.
#pragma once

#include <string>

#include "heddle/base/threads.h"
#include "heddle/io/value.h"
#include "heddle/tensor/buffer.h"
#include "heddle/train/trainer.h"

namespace heddle::cli {

void say(const std::string& text);  ///< a line on stderr

int threads_of(const io::Field& config);
Device device_of(const std::string& name);  ///< cpu, cuda or auto; throws where it is not there
Device device_of(const io::Field& config);

/// Operations a second that the device has at most, for dense bf16 as its maker says, or as
/// measured on the CPU; 0: not known.
double peak_flops_of(Device device, int threads);

void refuse_old_checkpoints(const io::Field& config);

/// From here on SIGINT and SIGTERM ask the run to stop; reports and warnings become lines.
void attach_run(train::TrainerHooks& hooks, ThreadPool& pool, int64_t max_steps);

/// Whether such a signal came.
bool stop_requested();

const char* name_of(train::End end);

}  // namespace heddle::cli
