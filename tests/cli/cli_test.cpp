// The command `heddle`, run as its users run it: what it prints, what it writes, how it refuses.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace heddle {
namespace {

struct Outcome {
  int code;
  std::string output;
};

class Cli : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("heddle_cli_" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  /// Runs the command in a folder of its own; `streams` says what becomes of stdout and stderr.
  Outcome run(const std::string& arguments, const std::string& streams = "2>&1") const {
    const std::string line = "cd '" + folder_.string() + "' && " HEDDLE_CLI " " + arguments + " " +
                             streams + " < /dev/null";
    FILE* pipe = ::popen(line.c_str(), "r");
    std::string output;
    char part[4096];
    for (size_t got; (got = std::fread(part, 1, sizeof part, pipe)) > 0;) output.append(part, got);
    const int status = ::pclose(pipe);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, output};
  }

  void expect_refused(const std::string& arguments, const std::string& part, int code = 1) const {
    const Outcome outcome = run(arguments, "2>&1 >/dev/null");
    EXPECT_EQ(outcome.code, code) << arguments << "\n" << outcome.output;
    EXPECT_EQ(outcome.output.rfind("heddle: error: ", 0), 0u) << arguments << "\n"
                                                              << outcome.output;
    EXPECT_NE(outcome.output.find(part), std::string::npos) << arguments << "\n" << outcome.output;
  }

  /// A .npy file of format version 1.
  void write_npy(const std::string& name, const std::string& descr, const std::string& shape,
                 const std::string& data) const {
    const std::string header =
        "{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }\n";
    std::ofstream file(folder_ / name, std::ios::binary);
    file << "\x93NUMPY\x01" << '\0' << static_cast<char>(header.size()) << '\0' << header << data;
  }

  std::string read(const std::string& name) const {
    std::ifstream file(folder_ / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  std::filesystem::path folder_;
};

template <typename T>
std::string bytes_of(const std::vector<T>& values) {
  std::string bytes(values.size() * sizeof(T), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

/// Accepts exactly JSON (RFC 8259) of the kinds that the command writes: no exponents' corner
/// cases.
class JsonReader {
 public:
  explicit JsonReader(std::string_view text) : text_(text) {}

  bool is_document() { return value() && (spaces(), text_.empty()); }

 private:
  void spaces() {
    while (!text_.empty() && std::strchr(" \n\r\t", text_.front()) != nullptr) {
      text_.remove_prefix(1);
    }
  }
  bool take(std::string_view token) {
    spaces();
    if (!text_.starts_with(token)) return false;
    text_.remove_prefix(token.size());
    return true;
  }
  bool string() {
    if (!take("\"")) return false;
    while (!text_.empty() && text_.front() != '"') {
      if (static_cast<unsigned char>(text_.front()) < 0x20) return false;
      text_.remove_prefix(text_.front() == '\\' && text_.size() > 1 ? 2 : 1);
    }
    return take("\"");
  }
  bool number() {
    spaces();
    const size_t end = std::min(text_.find_first_not_of("+-.eE0123456789"), text_.size());
    text_.remove_prefix(end);
    return end > 0;
  }
  bool members(std::string_view close, bool named) {
    if (take(close)) return true;
    do {
      if (named && !(string() && take(":"))) return false;
      if (!value()) return false;
    } while (take(","));
    return take(close);
  }
  bool value() {
    if (take("{")) return members("}", true);
    if (take("[")) return members("]", false);
    return string() || take("true") || take("false") || take("null") || number();
  }

  std::string_view text_;
};

const char* const kBuilders[] = {"full",
                                 "causal",
                                 "causal-with-offset",
                                 "sliding-window",
                                 "local-window",
                                 "document",
                                 "causal-document",
                                 "cross-document",
                                 "shared-question",
                                 "global-sliding",
                                 "causal-blockwise",
                                 "prefix-lm-causal",
                                 "prefix-lm-document",
                                 "qk-sparse",
                                 "hash-sparse",
                                 "random-eviction",
                                 "prefix-tree",
                                 "image-prefix-window",
                                 "valid-rows"};

TEST_F(Cli, HelpAndVersion) {
  EXPECT_EQ(run("--version").output, "heddle " HEDDLE_VERSION "\n");
  for (const char* arguments : {"--help", "mask --help", "demo --help"}) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.code, 0) << arguments;
    EXPECT_NE(outcome.output.find("Usage: heddle"), std::string::npos) << outcome.output;
  }
}

TEST_F(Cli, EveryBuilderHasHelpWithAnExampleThatRuns) {
  const std::string help = run("mask --help").output;
  for (const std::string builder : kBuilders) {
    EXPECT_NE(help.find("\n  " + builder + " "), std::string::npos) << builder;
    const Outcome own = run("mask " + builder + " --help");
    EXPECT_EQ(own.code, 0) << builder;
    const std::string start = "  heddle mask " + builder + " ";
    const size_t at = own.output.find(start);
    ASSERT_NE(at, std::string::npos) << own.output;
    const std::string example =
        own.output.substr(at + 9, own.output.find('\n', at) - at - 9);  // without "  heddle "
    const Outcome outcome = run(example + " --json");
    EXPECT_EQ(outcome.code, 0) << example << "\n" << outcome.output;
    EXPECT_TRUE(JsonReader(outcome.output).is_document()) << outcome.output;
  }
}

TEST_F(Cli, EveryBuilderRunsWithItsDefaults) {
  for (const std::string builder : kBuilders) {
    const Outcome outcome = run("mask " + builder + " --length 300");
    EXPECT_EQ(outcome.code, 0) << builder << "\n" << outcome.output;
    EXPECT_NE(outcome.output.find("visible pairs"), std::string::npos) << outcome.output;
    EXPECT_NE(outcome.output.find("row   0 │"), std::string::npos) << outcome.output;
  }
}

TEST_F(Cli, ReportSaysWhatTheMaskCosts) {
  const std::string text = run("mask causal-document --lengths 4,3,3 --tile 2x2").output;
  for (const char* part : {"10 × 10", "22 (density 22.0 %)", "1 of 4: lts", "tiles of 2 × 2",
                           "BlockMask", "dense bool", "· · · · · · · ██████"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
  EXPECT_EQ(run("mask causal-document --lengths 4,3,3 --no-picture").output.find("██"),
            std::string::npos);
}

TEST_F(Cli, JsonHoldsTheExactNumbers) {
  const Outcome outcome = run("mask causal-document --length 1048576 --json", "2>/dev/null");
  ASSERT_EQ(outcome.code, 0);
  EXPECT_TRUE(JsonReader(outcome.output).is_document()) << outcome.output;
  const std::string causal = run("mask causal --length 1048576 --json").output;
  for (const char* part :
       {"\"title\": \"causal\"", "\"visible_pairs\": 549756338176", "\"causal\": true",
        "\"tiles\": {\"skipped\": 33550336, \"partial\": 8192, \"full\": 33550336}",
        "\"dense_bool\": 1099511627776", "\"block_mask\": 1073872896"}) {
    EXPECT_NE(causal.find(part), std::string::npos) << part << "\n" << causal;
  }
  const std::string again = run("mask causal-document --length 1048576 --json").output;
  const size_t timings = again.find("\"seconds\"");
  ASSERT_NE(timings, std::string::npos);
  EXPECT_EQ(outcome.output.substr(0, timings), again.substr(0, timings))
      << "the same documents are drawn each time";
}

TEST_F(Cli, WritesPictures) {
  const Outcome outcome = run("mask sliding-window --length 1000 --png a.png --svg a.svg --json");
  EXPECT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_EQ(read("a.png").substr(1, 3), "PNG");
  EXPECT_EQ(read("a.svg").substr(0, 4), "<svg");
  expect_refused("mask causal --png missing/a.png", "cannot write 'missing/a.png'");
  expect_refused("mask causal --svg /dev/full", "No space left");
}

TEST_F(Cli, DemoDrawsTwelveMasks) {
  const Outcome outcome = run("demo --length 256");
  EXPECT_EQ(outcome.code, 0) << outcome.output;
  for (const char* part : {"Sliding window", "Random eviction", "qk-sparse", "BlockMask"}) {
    EXPECT_NE(outcome.output.find(part), std::string::npos) << part;
  }
  EXPECT_EQ(read("heddle-masks.png").substr(1, 3), "PNG");
  EXPECT_NE(read("heddle-masks.svg").find("Prefix LM document"), std::string::npos);
  expect_refused("demo --length 8 --out /dev/null/x",
                 "cannot write '/dev/null/x/heddle-masks.png'");
  expect_refused("demo --length 0", "--length: found 0; expected at least 1");
}

TEST_F(Cli, ReadsMasksFromFiles) {
  const std::vector<int32_t> lts{4, 4, 4, 4, 7, 7, 7, 10, 10, 10};
  write_npy("one.npy", "<i4", "(1, 1, 10, 1)", bytes_of(lts));
  write_npy("wide.npy", "<i8", "(1, 10, 1)",
            bytes_of(std::vector<int64_t>(lts.begin(), lts.end())));
  for (const char* name : {"one.npy", "wide.npy"}) {
    const std::string text = run(std::string("mask --causal --json --startend ") + name).output;
    EXPECT_NE(text.find("\"visible_pairs\": 22"), std::string::npos) << text;
  }
  EXPECT_NE(run("mask --causal --json --startend one.npy --query-length 20")
                .output.find("\"offset\": -10"),
            std::string::npos);
  write_npy("dense.npy", "|b1", "(2, 3)", std::string("\1\0\0\1\1\0", 6));
  write_npy("heads.npy", "<i4", "(1, 2, 1, 2)", bytes_of(std::vector<int32_t>{7, 0, 0, -1}));
  EXPECT_NE(run("mask --json --dense dense.npy").output.find("\"visible_pairs\": 3"),
            std::string::npos);
  EXPECT_NE(run("mask --json --dense heads.npy").output.find("\"heads\": 2"), std::string::npos);
}

TEST_F(Cli, RefusesHostileFiles) {
  write_npy("float.npy", "<f4", "(1, 1)", "1234");
  write_npy("big.npy", ">i4", "(1, 1, 1)", "1234");
  write_npy("batch.npy", "<i4", "(2, 1, 1, 1)", "12345678");
  write_npy("reversed.npy", "<i4", "(1, 1, 2)", bytes_of(std::vector<int32_t>{1, 0}));
  write_npy("beyond.npy", "<i4", "(1, 1, 1)", bytes_of(std::vector<int32_t>{7}));
  write_npy("negative.npy", "<i8", "(1, 1, 1)", bytes_of(std::vector<int64_t>{-1}));
  write_npy("huge.npy", "<i4", "(1, 1099511627776, 1)", "");
  write_npy("empty.npy", "|b1", "(0, 4)", "");
  write_npy("gaps.npy", "|b1", "(6, 1)", std::string("\1\0\1\0\1\0", 6));
  write_npy("gaps3.npy", "|b1", "(7, 1)", std::string("\0\1\0\1\0\1\1", 7));
  expect_refused("mask --dense float.npy", "found f32; expected bool or integers");
  expect_refused("mask --startend big.npy", "big-endian");
  expect_refused("mask --startend batch.npy --causal", "found shape [2, 1, 1, 1]");
  expect_refused("mask --startend reversed.npy --causal", "lts=1, lte=0");
  expect_refused("mask --startend beyond.npy --causal", "lts=7");
  expect_refused("mask --startend beyond.npy", "found 1 columns; expected 2 or 4");
  expect_refused("mask --startend negative.npy --causal", "found -1 at element 0");
  expect_refused("mask --startend huge.npy --causal", "truncated");
  expect_refused("mask --dense empty.npy", "found [1, 0, 4]");
  expect_refused("mask --dense gaps3.npy", "expected at most 2");
  expect_refused("mask --dense missing.npy", "No such file");
  expect_refused("mask --dense .", "a directory");
  expect_refused("mask --dense gaps.npy --causal", "--startend only");
  expect_refused("mask --dense gaps.npy --startend big.npy", "both");
}

TEST_F(Cli, RefusesHostileNumbers) {
  expect_refused("mask", "expected a builder");
  expect_refused("mask causal --length 0", "expected 1 …");
  expect_refused("mask causal --length -5", "is -5");
  expect_refused("mask causal --length 2147483648", "is 2147483648");
  expect_refused("mask causal --tile 0x4", "found '0x4'; expected ROWSxKEYS");
  expect_refused("mask causal --tile 99999999999x1", "expected ROWSxKEYS");
  expect_refused("mask causal --head 1", "found 1; expected 0 … 0");
  expect_refused("mask document --lengths 4,x", "found 'x'; expected a whole number");
  expect_refused("mask document --lengths ''", "expected a whole number");
  expect_refused("mask document --lengths 4,3 --length 10", "add up to 7; expected 10");
  expect_refused("mask document --length 5 --count 6", "found 6 parts; expected 1 … 5");
  expect_refused("mask sliding-window --window 0", "window is 0");
  expect_refused("mask random-eviction --heads 1000000000", "heads is 1000000000");
  expect_refused("mask prefix-tree --nodes 5:4", "parent 5");
  expect_refused("mask qk-sparse --dropped 5:2", "found part [5, 2)");
  expect_refused("mask shared-question --groups 4", "expected a number, a colon");
  expect_refused("mask cross-document --key-lengths 4", "expected both or none");
}

TEST_F(Cli, RefusesWrongUsageWithACodeOfItsOwn) {
  expect_refused("", "A subcommand is required", 106);
  expect_refused("weave", "not expected: weave", 109);
  expect_refused("mask weave", "not expected: weave", 109);
  expect_refused("mask causal --colour", "not expected: --colour", 109);
  expect_refused("mask causal --length abc", "found 'abc'; expected a whole number", 104);
  expect_refused("mask causal --length 99999999999999999999", "below 2^63", 104);
}

TEST_F(Cli, BenchRefusesUnknownDevices) {
  expect_refused("bench attention --device gpu", "expected cpu or cuda");
}

TEST_F(Cli, AFullDiskIsAnError) {
  const Outcome outcome = run("mask causal", "2>&1 >/dev/full");
  EXPECT_EQ(outcome.code, 1);
  EXPECT_NE(outcome.output.find("heddle: error: cannot write to standard output"),
            std::string::npos)
      << outcome.output;
}

}  // namespace
}  // namespace heddle
