// Hostile files for the readers' tests: bytes made by hand, and what every refusal must keep.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <initializer_list>
#include <string>

#include "heddle/base/error.h"
#include "heddle/io/source.h"

namespace heddle::testing {

// Under sanitizers memory and time are their own.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif
#else
inline constexpr bool kSanitized = false;
#endif

/// The bytes of numbers, one after another.
template <typename T>
std::string bytes_of(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

inline io::Source source_of(const std::string& bytes) {
  return io::Source(std::as_bytes(std::span(bytes.data(), bytes.size())), "bytes");
}

/// Runs what must throw: an Error whose text has every part, on one line and short, within a
/// second and without memory beyond `size` + 64 MiB.
inline std::string expect_refused(const std::function<void()>& read,
                                  std::initializer_list<const char*> parts, size_t size = 0) {
  const auto peak = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<size_t>(usage.ru_maxrss) << 10;
  };
  const size_t before = peak();
  const auto start = std::chrono::steady_clock::now();
  std::string message = "accepted";
  try {
    read();
  } catch (const Error& error) {
    message = error.what();
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  EXPECT_NE(message, "accepted");
  for (const char* part : parts) {
    EXPECT_NE(message.find(part), std::string::npos) << "no '" << part << "' in: " << message;
  }
  EXPECT_LE(message.size(), 1024u) << message;
  for (const char c : message) EXPECT_FALSE(c >= 0 && c < ' ') << "control byte in: " << message;
  EXPECT_LE(took.count(), kSanitized ? 60.0 : 1.0) << message;
  if (!kSanitized) {
    EXPECT_LE(peak() - before, size + (size_t{64} << 20)) << message;
  }
  return message;
}

/// A test with a folder of its own that goes with it.
class FolderTest : public ::testing::Test {
 protected:
  FolderTest() {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::temp_directory_path() /
              ("heddle_" + std::string(info->name()) + "_" + std::to_string(::getpid()));
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  ~FolderTest() override { std::filesystem::remove_all(folder_); }

  std::string path(const std::string& name) const { return folder_ / name; }

  std::string write(const std::string& name, const std::string& bytes) const {
    std::filesystem::create_directories(std::filesystem::path(path(name)).parent_path());
    std::ofstream(path(name), std::ios::binary) << bytes;
    return path(name);
  }

  std::string read(const std::string& name) const {
    std::ifstream stream(path(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }

  std::filesystem::path folder_;
};

}  // namespace heddle::testing
