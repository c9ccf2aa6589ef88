// Every file operation of a save fails, stops or loses power: all of them, one after another, so
// the set is complete.
#include <gtest/gtest.h>

#include <filesystem>

#include "heddle/base/error.h"
#include "tests/train/checkpoint_case.h"
#include "tests/train/faulty_files.h"

namespace heddle {
namespace {

using namespace heddle::testing;

class CheckpointFaults : public FolderTest {
 protected:
  /// Saves steps 1, 2, 3 without a fault, then step 4 with one at each operation.
  void at_every_operation(const std::function<void(FaultyFiles&)>& set,
                          const std::function<void(bool failed)>& check) {
    for (int64_t at = 0;; ++at) {
      ASSERT_LT(at, 200);
      std::filesystem::remove_all(folder_);
      std::filesystem::create_directories(folder_);
      train::Checkpoints before(folder_, 2, unsynced_);
      for (const int64_t step : {1, 2, 3}) before.save(request_of(step));
      FaultyFiles files;
      set(files);
      files.at = at;
      bool failed = false;
      try {
        train::Checkpoints(folder_, 2, files).save(request_of(4));
      } catch (const Error& error) {
        failed = true;
        EXPECT_NE(std::string(error.what()).find("checkpoint-4"), std::string::npos)
            << error.what();
      } catch (const Killed&) {
        failed = true;
      }
      check(failed);
      if (HasFatalFailure()) return;
      if (files.done <= at) {
        EXPECT_FALSE(failed);
        EXPECT_GT(at, 15);
        return;
      }
    }
  }

  void expect_old_or_new(bool failed) {
    const auto found = found_in(folder_);
    ASSERT_TRUE(found.has_value());
    if (failed) {
      EXPECT_GE(*found, 3);
    } else {
      EXPECT_EQ(*found, 4);
    }
    // Going on works: what was left over is swept away.
    train::Checkpoints after(folder_, 2, unsynced_);
    EXPECT_TRUE(after.save(request_of(5)).empty());
    EXPECT_EQ(after.steps().size(), 2u);
    EXPECT_EQ(found_in(folder_), 5);
    size_t entries = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder_)) {
      ++entries;
    }
    EXPECT_EQ(entries, 2u);
  }

  UnsyncedFiles unsynced_;

  void expect_no_left_over() {
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      EXPECT_FALSE(entry.path().string().ends_with(".tmp")) << entry.path();
    }
  }
};

TEST_F(CheckpointFaults, CK01_KilledAtEveryOperation) {
  at_every_operation([](FaultyFiles& files) { files.fault = Fault::kill; },
                     [this](bool failed) { expect_old_or_new(failed); });
}

TEST_F(CheckpointFaults, CK02_DiskFullAtEveryOperation) {
  for (const int error : {ENOSPC, EDQUOT}) {
    at_every_operation(
        [error](FaultyFiles& files) {
          files.fault = Fault::fail;
          files.error = error;
        },
        [this](bool failed) {
          expect_no_left_over();
          expect_old_or_new(failed);
        });
  }
}

TEST_F(CheckpointFaults, CK03_InputOutputErrorAtEveryOperation) {
  at_every_operation([](FaultyFiles& files) { files.fault = Fault::fail; },
                     [this](bool failed) {
                       expect_no_left_over();
                       expect_old_or_new(failed);
                     });
}

TEST_F(CheckpointFaults, CK04_ShortWriteAtEveryOperation) {
  at_every_operation(
      [](FaultyFiles& files) {
        files.fault = Fault::short_write;
        files.error = ENOSPC;
      },
      [this](bool failed) { expect_old_or_new(failed); });
}

TEST_F(CheckpointFaults, CK05_LossOfPowerAfterEveryOperation) {
  RememberedFiles files(folder_ / "live");
  std::filesystem::create_directories(folder_ / "live");
  train::Checkpoints checkpoints(folder_ / "live", 2, files);
  std::vector<size_t> acknowledged;  // operations when save() of step i + 1 returned
  for (int64_t step = 1; step <= 4; ++step) {
    checkpoints.save(request_of(step));
    acknowledged.push_back(files.operations());
  }
  const std::string disk = folder_ / "disk";
  for (size_t count = 0; count <= files.operations(); ++count) {
    int64_t least = 0;
    for (size_t i = 0; i < acknowledged.size(); ++i) {
      if (acknowledged[i] <= count) least = static_cast<int64_t>(i) + 1;
    }
    for (const auto data : {RememberedFiles::Unsynced::lost, RememberedFiles::Unsynced::half,
                            RememberedFiles::Unsynced::kept}) {
      for (const bool durable : {false, true}) {
        std::filesystem::remove_all(disk);
        std::filesystem::create_directories(disk);
        files.replay(count, data, durable, disk);
        EXPECT_GE(found_in(disk).value_or(0), least) << count << " " << durable;
      }
    }
  }
}

TEST_F(CheckpointFaults, CK11_TwoThatAreWholeAreNeverGivenUp) {
  // Whatever happens to a save, two whole ones are left.
  at_every_operation([](FaultyFiles& files) { files.fault = Fault::kill; },
                     [this](bool) {
                       int whole = 0;
                       for (const int64_t step : train::Checkpoints(folder_, 2).steps()) {
                         try {
                           train::read_verified(path("checkpoint-" + std::to_string(step)), step);
                           ++whole;
                         } catch (const Error&) {
                         }
                       }
                       EXPECT_GE(whole, 2);
                     });
}

TEST_F(CheckpointFaults, CK19_ReadOnlyAndForeignFolders) {
  for (const int error : {EROFS, EACCES, EXDEV}) {
    at_every_operation(
        [error](FaultyFiles& files) {
          files.fault = Fault::fail;
          files.error = error;
        },
        [this](bool failed) { expect_old_or_new(failed); });
  }
}

TEST_F(CheckpointFaults, CK20_TooLittleSpaceIsSeenBefore) {
  train::Checkpoints(folder_, 2).save(request_of(1));
  FaultyFiles files;
  files.free = 1000;
  expect_refused([&] { train::Checkpoints(folder_, 2, files).save(request_of(2)); },
                 {"checkpoint-2 needs", "found 1000 free"});
  EXPECT_EQ(files.done, 0);
  EXPECT_EQ(found_in(folder_), 1);
}

}  // namespace
}  // namespace heddle
