// One record a request, whatever it holds; metrics with a bounded set of labels.
#include "heddle/serve/log.h"

#include <gtest/gtest.h>

#include "heddle/io/json.h"
#include "heddle/serve/metrics.h"

namespace heddle::serve {
namespace {

TEST(Log, Ht23OneLineForEachRequest) {
  const std::string hostile("/a\r\nb\x1b[31m\"\\\0\xc3\xa9 c", 17);
  for (const bool json : {false, true}) {
    std::vector<std::string> lines;
    const Log log([&lines](std::string_view line) { lines.emplace_back(line); }, json);
    log.request({.client = "127.0.0.1",
                 .method = hostile,
                 .path = hostile + std::string(10'000, 'x'),
                 .id = "id",
                 .status = 200,
                 .seconds = 0.0125,
                 .bytes = 5});
    log.message("model: line\nfeed");
    ASSERT_EQ(lines.size(), 2u);
    for (const std::string& line : lines) {
      EXPECT_LT(line.size(), 2000u);
      for (const char c : line) EXPECT_GE(static_cast<unsigned char>(c), 0x20);
      if (json) {
        EXPECT_NE(io::parse_json(line, "line").find("time"), nullptr);
      }
    }
    EXPECT_NE(lines[0].find("12.5"), std::string::npos);
  }
}

TEST(Metrics, Prometheus) {
  Metrics metrics;
  metrics.request("/v1/translate", 200, 0.02);
  metrics.request("/v1/translate", 429, 0.0001);
  metrics.refusal("queue_full");
  metrics.translated("en-pt", {.source_words = 2, .source_tokens = 3, .target_tokens = 4});
  metrics.batch(5);
  metrics.load("en-\"pt\"\n", false);
  const std::string text = metrics.text({{{"en-pt", 7, 8}}, 9, 3});
  for (const char* const line : {
           "heddle_requests_total{route=\"/v1/translate\",status=\"200\"} 1\n",
           "heddle_refusals_total{reason=\"queue_full\"} 1\n",
           "heddle_source_tokens_total{model=\"en-pt\"} 3\n",
           "heddle_target_tokens_total{model=\"en-pt\"} 4\n",
           "heddle_queue_tokens{model=\"en-pt\"} 7\n",
           "heddle_live_rows{model=\"en-pt\"} 8\n",
           "heddle_connections 9\n",
           "heddle_open_requests 3\n",
           "heddle_batch_rows_bucket{le=\"4\"} 0\n",
           "heddle_batch_rows_bucket{le=\"8\"} 1\n",
           "heddle_request_seconds_bucket{route=\"/v1/translate\",le=\"0.025\"} 2\n",
           "heddle_request_seconds_count{route=\"/v1/translate\"} 2\n",
           "heddle_model_loads_total{model=\"en-\\\"pt\\\"?\",result=\"failed\"} 1\n",
       }) {
    EXPECT_NE(text.find(line), std::string::npos) << line;
  }
}

}  // namespace
}  // namespace heddle::serve
