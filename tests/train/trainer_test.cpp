#include "heddle/train/trainer.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "heddle/io/json.h"
#include "heddle/train/checkpoint.h"
#include "heddle/train/folder_lock.h"
#include "heddle/train/progress.h"
#include "tests/io/files.h"
#include "tests/train/fake_model.h"
#include "tests/train/faulty_files.h"

namespace heddle {
namespace {

using namespace heddle::testing;
namespace fs = std::filesystem;

class TrainerTest : public FolderTest {
 protected:
  train::TrainerSettings settings(const std::string& name, int64_t steps) const {
    train::TrainerSettings made;
    made.output_dir = path(name);
    made.schedule = {train::Curve::inverse_sqrt, 0.05, 10, 0, 0};
    made.optimizer.ema_decay = 0.95;
    made.packing.max_tokens = 64;
    made.packing.window = 50;
    made.packing.target_end = 8;
    made.packing.target_start = 9;
    made.loss.dropout = 0.1;
    made.loss.seed = 7;
    made.accumulation = 3;
    made.max_steps = steps;
    made.logging_steps = 7;
    made.eval_steps = 30;
    made.save_steps = 50;
    return made;
  }

  struct Outcome {
    std::string model, log, optimizer, state;
    train::TrainerResult result;
  };

  Outcome run(FakeModel& model, const train::TrainerSettings& given,
              train::TrainerHooks hooks = {}) {
    if (hooks.files == nullptr) hooks.files = &files_;
    Outcome outcome;
    outcome.result = train::train(model, data_.view(), validation_.view(), given, hooks);
    outcome.model = model.bytes();
    const std::string name = fs::path(given.output_dir).filename();
    outcome.log = untimed(read(name + "/log.jsonl"));
    const std::string last =
        name + "/checkpoint-" + std::to_string(outcome.result.state.step) + "/";
    outcome.optimizer = read(last + "optimizer.safetensors");
    outcome.state = read(last + "trainer_state.json");
    return outcome;
  }
  Outcome run(const train::TrainerSettings& given, const train::TrainerHooks& hooks = {}) {
    FakeModel model;
    return run(model, given, hooks);
  }

  static void expect_same(const Outcome& a, const Outcome& b) {
    EXPECT_EQ(a.model, b.model);
    EXPECT_EQ(a.log, b.log);
    EXPECT_EQ(a.optimizer, b.optimizer);
    EXPECT_EQ(a.state, b.state);
  }

  /// The log without what clocks decide.
  static std::string untimed(const std::string& log) {
    std::string text;
    for (size_t begin = 0; begin < log.size();) {
      const size_t end = log.find('\n', begin);
      io::Value value = io::parse_json(log.substr(begin, end - begin), "log");
      if (value.find("tokens_per_second") != nullptr) value.set("tokens_per_second", 0);
      text += io::to_json(value) + "\n";
      begin = end + 1;
    }
    return text;
  }

  UnsyncedFiles files_;
  FakeData data_{200}, validation_{20, 4};
};

TEST_F(TrainerTest, LearnsAndReports) {
  std::vector<train::Report> reports;
  train::TrainerHooks hooks;
  hooks.report = [&](const train::Report& report) { reports.push_back(report); };
  const Outcome outcome = run(settings("run", 210), hooks);
  ASSERT_EQ(reports.size(), 30u);
  EXPECT_LT(reports.back().nll, reports.front().nll * 0.75);
  EXPECT_GT(reports.back().accuracy, 0.4);
  EXPECT_EQ(outcome.result.end, train::End::steps);
  EXPECT_NE(outcome.log.find("eval_loss"), std::string::npos);
  const std::string line = train::progress_line(reports.back(), 210);
  for (const char* part :
       {"step 210/210", "loss ", "lr ", "tok/s", "padding 0 %", "0:00:00 left"}) {
    EXPECT_NE(line.find(part), std::string::npos) << line;
  }
}

TEST_F(TrainerTest, CK15_TwoHundredStepsAreHundredAndHundred) {
  const Outcome whole = run(settings("whole", 200));
  // Stops that fall anywhere in an epoch, an interval of the log, a window.
  for (const int64_t stop : {100, 1, 37, 199}) {
    const std::string name = "cut" + std::to_string(stop);
    int64_t asked = 0;
    train::TrainerHooks hooks;
    hooks.stop_requested = [&] { return asked++ == stop; };
    const Outcome first = run(settings(name, 200), hooks);
    EXPECT_EQ(first.result.end, train::End::stopped);
    EXPECT_EQ(first.result.state.step, stop);
    expect_same(run(settings(name, 200)), whole);
  }
}

TEST_F(TrainerTest, CK06_KilledAtRandomItGoesOnAsIfNothingHadBeen) {
  train::TrainerSettings given = settings("killed", 1500);
  given.save_steps = 20;
  train::TrainerSettings calm = given;
  calm.output_dir = path("calm");
  const Outcome whole = run(calm);
  Random random(23);
  int killed = 0;
  for (int i = 0; i < 20; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      FakeModel model;
      try {
        train::train(model, data_.view(), validation_.view(), given);
      } catch (...) {
        ::_exit(1);
      }
      ::_exit(0);
    }
    ::usleep(static_cast<useconds_t>(5'000 + random.below(60'000)));
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    killed += WIFSIGNALED(status) ? 1 : 0;
  }
  EXPECT_GE(killed, 1);
  expect_same(run(given), whole);
}

TEST_F(TrainerTest, CK09_ADamagedNewestIsSkippedWithAWarning) {
  const Outcome whole = run(settings("run", 150));
  const std::string model = "run/checkpoint-150/model.safetensors";
  std::string bytes = read(model);
  bytes[bytes.size() / 2] ^= 1;
  write(model, bytes);
  std::vector<std::string> warnings;
  train::TrainerHooks hooks;
  hooks.warn = [&](const std::string& text) { warnings.push_back(text); };
  expect_same(run(settings("run", 150), hooks), whole);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("checkpoint-150 is not used"), std::string::npos);
}

TEST_F(TrainerTest, CK12_ASecondTrainerIsRefused) {
  fs::create_directories(path("run"));
  const train::FolderLock lock(path("run"));
  expect_refused([&] { run(settings("run", 10)); }, {"another trainer"});
}

TEST_F(TrainerTest, CK17_OtherSettingsAreRefusedWithWhatChanged) {
  train::TrainerSettings given = settings("run", 20);
  given.fixed.set("vocabulary", "1234");
  run(given);
  const auto message_of = [&](const train::TrainerSettings& changed) -> std::string {
    try {
      run(changed);
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  train::TrainerSettings changed = given;
  changed.max_steps = 30;
  changed.schedule.peak = 0.01;
  changed.fixed.set("vocabulary", "5678");
  const std::string message = message_of(changed);
  for (const char* part :
       {"checkpoint-20", "other settings", "learning_rate: 0.05 before, 0.01 now",
        "vocabulary: \"1234\" before, \"5678\" now"}) {
    EXPECT_NE(message.find(part), std::string::npos) << message;
  }
  EXPECT_EQ(message.find("seed"), std::string::npos) << message;
  changed = given;
  changed.max_steps = 30;  // how long it goes on is free
  changed.save_steps = 5;
  EXPECT_EQ(message_of(changed), "accepted");
}

TEST_F(TrainerTest, CK20_WithoutSpaceTrainingGoesOnAndSaysSo) {
  FaultyFiles files;
  files.free = 10;
  std::vector<std::string> warnings;
  train::TrainerHooks hooks;
  hooks.files = &files;
  hooks.warn = [&](const std::string& text) { warnings.push_back(text); };
  train::TrainerSettings given = settings("run", 120);
  hooks.report = [&](const train::Report& report) {
    if (report.step > 100) files.free = -1;  // room again
  };
  const Outcome outcome = run(given, hooks);
  EXPECT_EQ(warnings.size(), 2u);
  EXPECT_EQ(outcome.result.state.step, 120);
  EXPECT_FALSE(fs::exists(path("run/checkpoint-100")));
  EXPECT_TRUE(fs::exists(path("run/checkpoint-120")));
}

TEST_F(TrainerTest, NU05_IgnoredLabelsTeachNothing) {
  class Ignoring : public FakeModel {
   public:
    train::LossSums forward_backward(const data::PackedBatch& batch,
                                     const train::LossSettings& settings) override {
      data::PackedBatch ignored = batch;
      std::fill(ignored.labels.begin(), ignored.labels.end(), -1);
      return FakeModel::forward_backward(ignored, settings);
    }
  } ignoring;
  const std::string before = ignoring.bytes();
  const Outcome outcome = run(ignoring, settings("run", 15));
  EXPECT_EQ(outcome.model, before);
  EXPECT_EQ(outcome.result.state.skipped, 0);
}

TEST_F(TrainerTest, NU07_StepsThatAreNotFiniteAreSkipped) {
  FakeModel model;
  model.poison = [](uint64_t step) { return step % 5 == 0; };
  std::vector<std::string> warnings;
  train::TrainerHooks hooks;
  hooks.warn = [&](const std::string& text) { warnings.push_back(text); };
  const Outcome outcome = run(model, settings("run", 50), hooks);
  EXPECT_EQ(outcome.result.state.skipped, 10);
  EXPECT_EQ(warnings.size(), 10u);
  EXPECT_NE(warnings[0].find("step 5 is skipped"), std::string::npos);
  EXPECT_NE(warnings[0].find("first in bias"), std::string::npos);
  EXPECT_NE(outcome.log.find("\"pairs\":["), std::string::npos);
  for (const train::Slot& slot : model.slots()) {
    for (int64_t i = 0; i < slot.value.elements(); ++i) {
      EXPECT_TRUE(std::isfinite(slot.value.data<float>()[i]));
    }
  }
}

TEST_F(TrainerTest, NU07_TenInARowEndTheRunAndKeepTheCheckpoint) {
  FakeModel model;
  model.poison = [](uint64_t step) { return step > 52; };
  expect_refused([&] { run(model, settings("run", 200)); },
                 {"10 steps in a row", "the last 62", "bias"});
  std::vector<std::string> damaged;
  const auto found = train::Checkpoints(path("run"), 2).newest(damaged);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->manifest.step, 50);
}

TEST_F(TrainerTest, NU08_SpikesAreOnRecordAndMayBeLeftOut) {
  const auto train_with = [&](const std::string& name, bool skips, bool spikes) {
    FakeModel model;
    if (spikes) model.spike = [](uint64_t step) { return step == 20 || step == 70 || step == 71; };
    train::TrainerSettings given = settings(name, 90);
    given.skips_spikes = skips;
    given.accumulation = 1;
    std::vector<std::string> warnings;
    train::TrainerHooks hooks;
    hooks.warn = [&](const std::string& text) { warnings.push_back(text); };
    Outcome outcome = run(model, given, hooks);
    EXPECT_EQ(warnings.size(), spikes ? 2u : 0u) << name;  // there is no row yet at step 20
    return outcome;
  };
  const Outcome plain = train_with("plain", false, false),
                logged = train_with("logged", false, true),
                skipped = train_with("skipped", true, true);
  EXPECT_EQ(plain.log.find("spike"), std::string::npos);
  for (const Outcome* each : {&logged, &skipped}) {
    const size_t at = each->log.find("{\"step\":70,\"event\":\"spike\"");
    ASSERT_NE(at, std::string::npos) << each->log;
    const std::string line = each->log.substr(at, each->log.find('\n', at) - at);
    EXPECT_NE(line.find("\"pairs\":["), std::string::npos) << line;
    EXPECT_NE(line.find(each == &skipped ? "\"action\":\"skipped\"" : "\"action\":\"none\""),
              std::string::npos)
        << line;
  }
  EXPECT_EQ(logged.result.state.skipped, 0);
  EXPECT_EQ(skipped.result.state.skipped, 2);
  EXPECT_NE(logged.model, skipped.model);
}

TEST_F(TrainerTest, CK18_CheckpointsOfEarlierVersionsGoOn) {
  const fs::path kept = fs::path(HEDDLE_TEST_DATA) / "checkpoints";
  int found = 0;
  for (const auto& format : fs::directory_iterator(kept)) {
    SCOPED_TRACE(format.path());
    const std::string name = format.path().filename();
    fs::copy(format.path(), path(name), fs::copy_options::recursive);
    FakeModel model;
    model.load(path(name) + "/checkpoint-60");
    const std::string before = model.bytes();
    const Outcome outcome = run(model, settings(name, 100));
    EXPECT_EQ(outcome.result.state.step, 100);
    EXPECT_EQ(outcome.log.find("\"step\":7,"), std::string::npos) << "it began anew";
    EXPECT_NE(outcome.model, before);
    ++found;
  }
  EXPECT_GE(found, 1);
}

TEST_F(TrainerTest, EndsAfterEpochs) {
  train::TrainerSettings given = settings("run", 0);
  given.max_epochs = 2;
  int64_t tokens = 0;
  const auto view = data_.view();
  for (uint64_t i = 0; i < view.size(); ++i) {
    tokens += static_cast<int64_t>(view.target(i).size()) + 1;
  }
  const Outcome outcome = run(given);
  EXPECT_EQ(outcome.result.end, train::End::epochs);
  EXPECT_EQ(outcome.result.state.tokens, 2 * tokens);
  const Outcome again = run(given);  // nothing left to do
  EXPECT_EQ(again.result.state.step, outcome.result.state.step);
}

TEST_F(TrainerTest, EndsWhenValidationGainsNothing) {
  train::TrainerSettings given = settings("run", 5000);
  given.schedule.peak = 0;  // nothing is learnt
  given.eval_steps = 10;
  given.early_stopping_patience = 3;
  const Outcome outcome = run(given);
  EXPECT_EQ(outcome.result.end, train::End::patience);
  EXPECT_EQ(outcome.result.state.step, 40);
}

}  // namespace
}  // namespace heddle
