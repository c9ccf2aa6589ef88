#include "heddle/train/checkpoint.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <optional>

#include "heddle/base/error.h"
#include "heddle/train/folder_lock.h"
#include "tests/train/checkpoint_case.h"
#include "tests/train/faulty_files.h"

namespace heddle {
namespace {

using namespace heddle::testing;
namespace fs = std::filesystem;

class CheckpointTest : public FolderTest {
 protected:
  void save(std::initializer_list<int64_t> steps) {
    train::Checkpoints checkpoints(folder_, 0, files_);
    for (const int64_t step : steps) EXPECT_TRUE(checkpoints.save(request_of(step)).empty());
  }

  UnsyncedFiles files_;

  /// Damages a file of checkpoint-20, expects that checkpoint-10 is taken, and repairs it.
  void expect_detected(const std::string& name, const std::function<void()>& damage) {
    const std::string before = read(name);
    damage();
    std::vector<std::string> damaged;
    EXPECT_EQ(found_in(folder_, &damaged), 10) << name;
    ASSERT_EQ(damaged.size(), 1u);
    EXPECT_NE(damaged[0].find("checkpoint-20 is not used"), std::string::npos) << damaged[0];
    write(name, before);
    EXPECT_EQ(found_in(folder_), 20);
  }
};

const char* const kFiles[] = {"model.safetensors", "optimizer.safetensors", "trainer_state.json"};

TEST_F(CheckpointTest, NewestIsByStep) {
  EXPECT_EQ(found_in(folder_), std::nullopt);
  save({10, 9, 100});
  EXPECT_EQ(found_in(folder_), 100);
  // CK-19: a clock that was set back changes nothing.
  fs::last_write_time(path("checkpoint-100"),
                      fs::file_time_type::clock::now() - std::chrono::hours(10'000));
  EXPECT_EQ(found_in(folder_), 100);
}

TEST_F(CheckpointTest, CK07_OneByteFlippedAtHundredPlaces) {
  save({10, 20});
  for (const std::string file : kFiles) {
    const std::string name = "checkpoint-20/" + file, whole = read(name);
    for (size_t i = 0; i < 100; ++i) {
      expect_detected(name, [&] {
        std::string bytes = whole;
        const size_t at = i * (whole.size() - 1) / 99;
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << i % 8));
        write(name, bytes);
      });
    }
  }
}

TEST_F(CheckpointTest, CK08_FilesCutMissingEmptyOrSwapped) {
  save({10, 20});
  for (const std::string file : kFiles) {
    const std::string name = "checkpoint-20/" + file;
    expect_detected(name, [&] { write(name, read(name).substr(0, read(name).size() / 2)); });
    expect_detected(name, [&] { write(name, ""); });
    expect_detected(name, [&] { fs::remove(path(name)); });
    expect_detected(name, [&] { write(name, read("checkpoint-10/" + file)); });
  }
  const std::string model = "checkpoint-20/model.safetensors";
  expect_detected(model, [&] { write(model, read("checkpoint-20/optimizer.safetensors")); });
}

TEST_F(CheckpointTest, CK09_NoneWholeIsAnErrorOfItsOwn) {
  save({10, 20});
  write("checkpoint-20/model.safetensors", "x");
  EXPECT_EQ(found_in(folder_), 10);
  write("checkpoint-10/model.safetensors", "x");
  expect_refused([&] { found_in(folder_); }, {"none of the 2", "checkpoint-20", "start anew"});
}

TEST_F(CheckpointTest, CK10_OtherNamesMeanNothing) {
  save({10});
  for (const char* name : {"checkpoint-20.tmp", "checkpoint-10.bak", "checkpoint-abc",
                           "checkpoint-99999999999999999999", "checkpoint-", "checkpoint--5",
                           "checkpoint-030", "checkpoint-40 ", "step-50"}) {
    fs::create_directories(path(name));
    write(std::string(name) + "/model.safetensors", "x");
  }
  write("checkpoint-60", "a file");
  EXPECT_EQ(found_in(folder_), 10);
  save({20});
  EXPECT_EQ(found_in(folder_), 20);
  EXPECT_FALSE(fs::exists(path("checkpoint-20.tmp")));
  EXPECT_TRUE(fs::exists(path("checkpoint-10.bak")));
}

TEST_F(CheckpointTest, CK11_DamagedOnesDoNotCountAsKept) {
  train::Checkpoints checkpoints(folder_, 2);
  for (const int64_t step : {1, 2}) checkpoints.save(request_of(step));
  write("checkpoint-2/model.safetensors", "x");
  train::Checkpoints fresh(folder_, 2);
  fresh.save(request_of(3));
  EXPECT_EQ(fresh.steps(), (std::vector<int64_t>{1, 2, 3}));
  fresh.save(request_of(4));
  EXPECT_EQ(fresh.steps(), (std::vector<int64_t>{3, 4}));
  expect_refused([&] { train::Checkpoints(folder_, 1); }, {"save_total_limit: found 1"});
}

TEST_F(CheckpointTest, CK12_OneTrainerAFolder) {
  std::optional<train::FolderLock> lock;
  lock.emplace(folder_);
  expect_refused([&] { train::FolderLock second(folder_); },
                 {"another trainer", std::to_string(::getpid()).c_str()});
  lock.reset();
  EXPECT_NO_THROW(train::FolderLock second(folder_));
}

TEST_F(CheckpointTest, SavingAStepAgainReplacesIt) {
  save({10, 20});
  write("checkpoint-20/model.safetensors", "damaged");
  EXPECT_EQ(found_in(folder_), 10);
  save({20});
  EXPECT_EQ(found_in(folder_), 20);
  save({30});
  EXPECT_FALSE(fs::exists(path("checkpoint-20.replaced")));
}

}  // namespace
}  // namespace heddle
