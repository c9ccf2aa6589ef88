// Heads of requests: what is refused, and with which status.
#include "heddle/serve/head.h"

#include <gtest/gtest.h>

namespace heddle::serve {
namespace {

RawHead post(std::vector<Header> more = {}) {
  RawHead raw{"POST", "/v1/translate", "HTTP/1.1", {{"Host", "localhost"}}, {}};
  raw.headers.insert(raw.headers.end(), more.begin(), more.end());
  return raw;
}

RawHead get(std::string_view target) {
  return {"GET", target, "HTTP/1.1", {{"Host", "localhost"}}, {}};
}

int status_of(const RawHead& raw) {
  const Head head = parse_head(raw, {});
  return head.refusal ? head.refusal->status : 200;
}

/// As libmicrohttpd leaves it: CR, LF and the first colon of a line are NUL.
std::string lines(std::string_view text) {
  std::string left;
  bool colon = false;
  for (const char c : text) {
    const bool separator = c == '\r' || c == '\n' || (c == ':' && !colon);
    colon = c != '\n' && (colon || c == ':');
    left += separator ? '\0' : c;
  }
  return left;
}

TEST(Head, Ht04ContentLength) {
  EXPECT_EQ(status_of(post({{"Content-Length", "1048576"}})), 200);
  EXPECT_EQ(status_of(post({{"Content-Length", "1048577"}})), 413);
  EXPECT_EQ(status_of(post({{"Content-Length", "9223372036854775808"}})), 413);
  for (const char* const wrong : {"-1", "+5", "5, 5", "5, 6", "0x5", "5 5", "", "1e3", "٥"}) {
    EXPECT_EQ(status_of(post({{"Content-Length", wrong}})), 400) << wrong;
  }
  const Head twice = parse_head(post({{"Content-Length", "5"}, {"content-length", "5"}}), {});
  ASSERT_TRUE(twice.refusal);
  EXPECT_EQ(twice.refusal->status, 400);
  EXPECT_TRUE(twice.refusal->closes);
}

TEST(Head, Ht08TransferEncoding) {
  EXPECT_TRUE(parse_head(post({{"Transfer-Encoding", "Chunked"}}), {}).chunked);
  EXPECT_EQ(status_of(post({{"Transfer-Encoding", "chunked"}})), 200);
  for (const char* const wrong :
       {"xchunked", "gzip, chunked", "chunked, chunked", "identity", ""}) {
    EXPECT_EQ(status_of(post({{"Transfer-Encoding", wrong}})), 400) << wrong;
  }
  EXPECT_EQ(status_of(post({{"Transfer-Encoding", "chunked"}, {"Content-Length", "5"}})), 400);
  EXPECT_EQ(status_of(post({{"Transfer-Encoding", "chunked"}, {"Transfer-Encoding", "gzip"}})),
            400);
  RawHead old = post({{"Transfer-Encoding", "chunked"}});
  old.version = "HTTP/1.0";
  EXPECT_EQ(status_of(old), 400);
}

TEST(Head, Ht08LinesAsTheyCame) {
  const std::vector<std::pair<std::string, int>> cases{
      {"\r\nHost: a\r\n\r\n", 200},
      {"\r\n\r\n", 200},
      {"\r\nHost: a\r\nX:\r\nY: b:c\r\n\r\n", 200},
      {"\nHost: a\r\n\r\n", 400},
      {"\r\nHost: a\nX: b\r\n\r\n", 400},
      {"\r\nHost: a\r\n\n", 400},
      {"\r\nHost: a\r\n folded: b\r\n\r\n", 400},
      {"\r\nHost : a\r\n\r\n", 400},
      {"\r\nHost: a\rb\r\n\r\n", 400},
      {std::string("\r\nHost: a\0b\r\n\r\n", 15), 400},
      {"\r\nHost: a\r\n", 400},
  };
  for (const auto& [text, status] : cases) {
    RawHead raw = post();
    const std::string left = lines(text);
    raw.lines = left;
    EXPECT_EQ(status_of(raw), status) << text;
  }
}

TEST(Head, Ht09Headers) {
  std::vector<Header> many(63, Header{"X-A", "b"});
  EXPECT_EQ(status_of(post(many)), 200);
  many.push_back({"X-A", "b"});
  EXPECT_EQ(status_of(post(many)), 431);
  const std::string fits(8192 - 3, 'x'), over(8192 - 2, 'x');
  EXPECT_EQ(status_of(post({{"X-A", fits}})), 200);
  EXPECT_EQ(status_of(post({{"X-A", over}})), 431);
  for (const char* const name : {"X A", "X-A ", "", "X(", "X\x80"}) {
    EXPECT_EQ(status_of(post({{name, "b"}})), 400) << name;
  }
  EXPECT_EQ(status_of(post({{"X-A", "b\x01"}})), 400);
  EXPECT_EQ(status_of(post({{"X-A", "caf\xc3\xa9"}})), 200);
}

TEST(Head, Ht10Targets) {
  EXPECT_EQ(status_of(get("/health")), 200);
  EXPECT_EQ(status_of(get("/health?a=%41")), 200);
  EXPECT_EQ(status_of(get("/health?" + std::string(8192 - 8, 'a'))), 200);
  EXPECT_EQ(status_of(get("/health?" + std::string(8192 - 7, 'a'))), 414);
  for (const char* const wrong :
       {"/%", "/%4", "/%4g", "/%00", "/a b", "/a\tb", "/caf\xc3\xa9", "health", "", "*"}) {
    EXPECT_EQ(status_of(get(wrong)), 400) << wrong;
  }
}

TEST(Head, Ht11PathsThatLeadNowhere) {
  for (const char* const path :
       {"/../etc/passwd", "/%2e%2e%2fetc/passwd", "/..%5cx", "/%252e%252e", "/health/", "//health",
        "/%68ealth", "/page/index.html", "http://localhost/etc/passwd"}) {
    EXPECT_EQ(status_of(get(path)), 404) << path;
  }
  EXPECT_EQ(status_of(get("file:///etc/passwd")), 400);
  EXPECT_EQ(parse_head(get("http://example.org/health"), {}).host, "example.org");
}

TEST(Head, Ht13Encodings) {
  EXPECT_EQ(status_of(post({{"Content-Encoding", "gzip"}})), 415);
  EXPECT_EQ(status_of(post({{"Content-Encoding", "identity"}})), 200);
  EXPECT_EQ(status_of(post({{"Content-Type", "text/plain"}})), 415);
  EXPECT_EQ(status_of(post({{"Content-Type", "application/x-www-form-urlencoded"}})), 415);
  EXPECT_EQ(status_of(post({{"Content-Type", "Application/JSON; charset=utf-8"}})), 200);
  RawHead libre = post({{"Content-Type", "application/x-www-form-urlencoded"}});
  libre.target = "/translate";
  EXPECT_EQ(status_of(libre), 200);
}

TEST(Head, Ht24RequestIds) {
  EXPECT_EQ(parse_head(post({{"X-Request-Id", "a-B_9.z"}}), {}).request_id, "a-B_9.z");
  for (const std::string& wrong :
       {std::string("a b"), std::string("a\"b"), std::string(), std::string(65, 'a')}) {
    EXPECT_EQ(parse_head(post({{"X-Request-Id", wrong}}), {}).request_id, "") << wrong;
  }
}

TEST(Head, Ht28Methods) {
  for (const auto& [method, status] : std::vector<std::pair<const char*, int>>{{"GET", 405},
                                                                               {"TRACE", 405},
                                                                               {"CONNECT", 405},
                                                                               {"DELETE", 405},
                                                                               {"PUT", 405},
                                                                               {"post", 501},
                                                                               {"BREW", 501},
                                                                               {"OPTIONS", 200},
                                                                               {"POST", 200}}) {
    RawHead raw = post();
    raw.method = method;
    EXPECT_EQ(status_of(raw), status) << method;
  }
}

TEST(Head, Ht30KeysInTheQuery) {
  EXPECT_EQ(status_of(get("/v1/models?api_key=secret")), 400);
  EXPECT_EQ(parse_head(post({{"Authorization", "bearer  secret "}}), {}).key, "secret");
  EXPECT_EQ(parse_head(post({{"Authorization", "Basic secret"}}), {}).key, "");
}

TEST(Head, Ht32Expectations) {
  EXPECT_TRUE(parse_head(post({{"Expect", "100-Continue"}}), {}).expects_continue);
  EXPECT_EQ(status_of(post({{"Expect", "200-ok"}})), 417);
  EXPECT_EQ(status_of(post({{"Expect", "100-continue"}, {"Content-Length", "2000000"}})), 413);
}

TEST(Head, Hosts) {
  for (const auto& [host, status] :
       std::vector<std::pair<const char*, int>>{{"localhost:5000", 200},
                                                {"[::1]:5000", 200},
                                                {"127.0.0.1", 200},
                                                {"a/b", 400},
                                                {"a, b", 400},
                                                {"user@a", 400},
                                                {"localhost:x", 400},
                                                {"[::1", 400}}) {
    RawHead raw = get("/health");
    raw.headers[0].value = host;
    EXPECT_EQ(status_of(raw), status) << host;
  }
  RawHead none = get("/health");
  none.headers.clear();
  EXPECT_EQ(status_of(none), 400);
  none.version = "HTTP/1.0";
  EXPECT_EQ(status_of(none), 200);
}

}  // namespace
}  // namespace heddle::serve
