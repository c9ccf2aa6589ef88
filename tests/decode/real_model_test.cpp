// The same line always has the same translation: the models below models/, or those that
// HEDDLE_TEST_MODELS names the folder of, on the lines of HEDDLE_TEST_LINES or of the shipped
// sample: the first column, or the second for models named pt…. HEDDLE_TEST_COUNT lines; 200 when
// it is not set.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <numeric>

#include "heddle/base/random.h"
#include "heddle/decode/translator.h"
#include "heddle/model/formats/formats.h"

namespace heddle::decode {
namespace {

std::string variable(const char* name, const std::string& otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : value;
}

std::vector<std::string> lines_to_translate(bool second_column) {
  const std::string usual = HEDDLE_TEST_DATA "/../../models/docs-en-de/sample.en";
  std::ifstream file(variable("HEDDLE_TEST_LINES", usual), std::ios::binary);
  const size_t most = std::stoul(variable("HEDDLE_TEST_COUNT", "200"));
  std::vector<std::string> lines;
  for (std::string line; lines.size() < most && std::getline(file, line);) {
    const size_t tab = line.find('\t');
    const bool second = second_column && tab != line.npos;
    lines.push_back(second ? line.substr(tab + 1) : line.substr(0, tab));
  }
  return lines;
}

std::vector<std::string> models() {
  const std::string folder = variable("HEDDLE_TEST_MODELS", HEDDLE_TEST_DATA "/../../models");
  std::vector<std::string> found;
  if (folder.empty()) return found;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.is_directory()) found.push_back(entry.path().string());
  }
  if (found.empty()) found.push_back(folder);
  std::sort(found.begin(), found.end());
  return found;
}

/// One way to decode, and whether the shortlist takes part.
struct Way {
  const char* name;
  Options options;
  bool shortlist = false;
  bool numbered = false;  ///< the number of a line matters, so that its order cannot change
};

std::vector<Way> ways() {
  std::vector<Way> all{{"greedy", {}}, {"beam 4", {.beam = 4}}, {"shortlist", {}, true}};
  all.push_back({"sampling", {}, false, true});
  all.back().options.sampling = {.enabled = true, .top_k = 10, .seed = 5};
  return all;
}

/// Texts and scores of all lines, given in the order `order`; back in the order of the lines.
std::vector<std::string> translate(const Translator& translator, const Way& way,
                                   const std::vector<std::string>& lines,
                                   const std::vector<size_t>& order) {
  std::vector<std::string> out(lines.size());
  size_t next = 0, written = 0;
  translator.translate_stream(
      [&](Translator::InputLine& line) {
        if (next == order.size()) return false;
        line.text = lines[order[next++]];
        return true;
      },
      [&](Translation&& translation) { out[order[written++]] = std::move(translation.text); },
      way.options, {});
  return out;
}

size_t differences(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  size_t count = 0;
  for (size_t i = 0; i < a.size(); ++i) count += a[i] != b[i];
  return count;
}

void check_invariance(const std::string& model, model::Precision precision, const Way& way,
                      const std::vector<std::string>& lines) {
  std::vector<size_t> in_order(lines.size());
  std::iota(in_order.begin(), in_order.end(), size_t{0});
  std::vector<size_t> shuffled = in_order;
  Random random(11);
  for (size_t i = shuffled.size(); i > 1; --i)
    std::swap(shuffled[i - 1], shuffled[random.below(i)]);
  if (way.numbered) shuffled = in_order;

  TranslatorSettings settings{.threads = 1, .precision = precision, .shortlist = way.shortlist};
  const std::vector<std::string> plain =
      translate(Translator(model, settings), way, lines, in_order);
  EXPECT_GT(differences(plain, lines), lines.size() / 2) << "nothing was translated";
  const auto expect_same = [&](const char* change, const std::vector<size_t>& order) {
    EXPECT_EQ(differences(plain, translate(Translator(model, settings), way, lines, order)), 0u)
        << change << ", of " << lines.size() << " lines";
  };
  expect_same("shuffled", shuffled);
  settings.threads = 2;
  expect_same("two threads, shuffled", shuffled);
  settings.encode_tokens = 100;
  settings.rows = 7;
  settings.refill_rows = 3;
  settings.window_lines = 50;
  expect_same("small batches", shuffled);
  settings.threads = 1;
  settings.rows = settings.refill_rows = 1;
  settings.encode_tokens = 1;
  if (way.options.beam == 1) expect_same("one by one", in_order);
}

TEST(RealModelSlow, CompanyOrderAndThreadsChangeNoLine) {
  const std::vector<std::string> folders = models();
  if (folders.empty()) GTEST_SKIP() << "HEDDLE_TEST_MODELS names no folder of models";
  for (const std::string& model : folders) {
    const std::vector<std::string> lines =
        lines_to_translate(std::filesystem::path(model).filename().string().starts_with("pt"));
    ASSERT_GT(lines.size(), 10u);
    for (const Way& way : ways()) {
      if (way.shortlist && model::load_model(model).shortlist.empty()) continue;
      for (const auto& [precision, name] :
           {std::pair{model::Precision::f32, "f32"}, std::pair{model::Precision::int8, "int8"}}) {
        SCOPED_TRACE(model + ", " + way.name + ", " + name);
        check_invariance(model, precision, way, lines);
      }
    }
  }
}

}  // namespace
}  // namespace heddle::decode
