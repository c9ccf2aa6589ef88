// Lines that come in any order are told in theirs, and a sleeper is woken exactly when there is
// something to send.
#include "heddle/serve/delivery.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/serve/translations.h"

namespace heddle::serve {
namespace {

TranslateRequest request_of(std::vector<std::string> texts, bool stream) {
  TranslateRequest request;
  request.texts = std::move(texts);
  request.stream = stream;
  return request;
}

/// Everything that can be taken now.
std::string taken(Delivery& delivery, bool& asleep) {
  std::string all;
  char bytes[7];
  for (asleep = false;;) {
    const int64_t count = delivery.take_events(
        bytes, sizeof bytes, [&asleep] { asleep = true; }, [] {});
    if (count <= 0) return all;
    all.append(bytes, static_cast<size_t>(count));
  }
}

TEST(Delivery, EventsInTheOrderOfLines) {
  Delivery delivery(request_of({"a\n\nb", "c"}, true), "m");
  delivery.take_lines();
  bool asleep = false;
  EXPECT_EQ(taken(delivery, asleep), "event: progress\ndata: {\"done\":1,\"total\":4}\n\n");
  EXPECT_TRUE(asleep);
  delivery.line(1, translation_of("B"));
  EXPECT_EQ(taken(delivery, asleep), "");
  delivery.line(0, translation_of("A"));
  EXPECT_EQ(taken(delivery, asleep),
            "event: translation\ndata: {\"index\":0,\"line\":0,\"text\":\"A\"}\n\n"
            "event: translation\ndata: {\"index\":0,\"line\":1,\"text\":\"\"}\n\n"
            "event: translation\ndata: {\"index\":0,\"line\":2,\"text\":\"B\"}\n\n");
  delivery.line(2, translation_of("C"));
  delivery.end({.end = decode::End::finished});
  const std::string rest = taken(delivery, asleep);
  EXPECT_FALSE(asleep);
  EXPECT_TRUE(rest.starts_with(
      "event: translation\ndata: {\"index\":1,\"line\":0,\"text\":\"C\"}\n\n"
      "event: progress\ndata: {\"done\":4,\"total\":4}\n\nevent: done\ndata: {\"usage\":"))
      << rest;
}

TEST(Delivery, AFailureIsTheLastEvent) {
  Delivery delivery(request_of({"a"}, true), "m");
  delivery.end({.end = decode::End::expired});
  bool asleep = false;
  const std::string all = taken(delivery, asleep);
  EXPECT_NE(all.find("event: error\ndata: {\"error\":{\"code\":\"deadline\""), std::string::npos);
  EXPECT_FALSE(asleep);
}

TEST(Delivery, EverySleeperIsWokenOnce) {
  for (int round = 0; round < 500; ++round) {
    Delivery delivery(request_of({"a"}, false), "m");
    std::atomic<int> woken{0};
    std::thread worker([&delivery] {
      delivery.line(0, translation_of("A"));
      delivery.end({.end = decode::End::finished});
    });
    bool slept = false;
    const bool asleep =
        delivery.sleep_until_ended([&slept] { slept = true; }, [&woken] { ++woken; });
    worker.join();
    EXPECT_EQ(asleep, slept);
    EXPECT_EQ(woken, asleep ? 1 : 0);
    EXPECT_FALSE(delivery.sleep_until_ended([] { FAIL(); }, [] {}));
    EXPECT_EQ(delivery.document().joined(0, 0).text, "A");
  }
}

TEST(Delivery, NobodyIsWokenWhoHasGone) {
  Delivery delivery(request_of({"a"}, false), "m");
  EXPECT_TRUE(delivery.sleep_until_ended([] {}, [] { FAIL(); }));
  delivery.detach();
  delivery.end({.end = decode::End::cancelled});
}

}  // namespace
}  // namespace heddle::serve
