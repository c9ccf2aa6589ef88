// Keys, hosts, origins, languages.
#include "heddle/serve/access.h"

#include <gtest/gtest.h>

#include "heddle/serve/languages.h"

namespace heddle::serve {
namespace {

TEST(Access, Ht30Keys) {
  const std::vector<std::string> keys{"first", "second"};
  EXPECT_EQ(find_key(keys, "second"), 1u);
  for (const char* const wrong : {"", "secon", "secondx", "Second", "first "}) {
    EXPECT_FALSE(find_key(keys, wrong)) << wrong;
  }
  EXPECT_FALSE(equal_in_constant_time(std::string("a\0", 2), "a"));
}

TEST(Access, Ht22Hosts) {
  ServerSettings settings;
  for (const char* const mine : {"localhost", "LocalHost:5000", "127.0.0.1:80", "[::1]:5000"}) {
    EXPECT_TRUE(host_allowed(settings, mine)) << mine;
  }
  for (const char* const other : {"", "example.org", "localhost.example.org", "127.0.0.1.nip.io",
                                  "127.example.org", "[::2]"}) {
    EXPECT_FALSE(host_allowed(settings, other)) << other;
  }
  settings.host_names = {"translate.example.org"};
  EXPECT_TRUE(host_allowed(settings, "translate.example.org:5000"));
  EXPECT_FALSE(host_allowed(settings, "example.org"));
  settings.host = "0.0.0.0";
  EXPECT_FALSE(host_allowed(settings, "example.org"));
  settings.host_names.clear();
  EXPECT_TRUE(host_allowed(settings, "example.org"));
}

TEST(Access, Ht22Origins) {
  ServerSettings settings;
  EXPECT_EQ(allowed_origin(settings, "https://evil.example"), "");
  settings.cors = {"https://a.example"};
  EXPECT_EQ(allowed_origin(settings, "https://a.example"), "https://a.example");
  EXPECT_EQ(allowed_origin(settings, "https://a.example.evil"), "");
  settings.cors = {"*"};
  EXPECT_EQ(allowed_origin(settings, "https://evil.example"), "*");
  EXPECT_EQ(allowed_origin(settings, ""), "");
}

TEST(Languages, NamesOfModels) {
  EXPECT_EQ(direction_of("en-pt").target, "pt");
  EXPECT_EQ(direction_of("en-pt-BR").target, "pt-BR");
  for (const char* const other : {"", "model", "en", "en-", "-pt", "english-pt", "EN-pt"}) {
    EXPECT_EQ(direction_of(other).source, "") << other;
  }
  EXPECT_EQ(language_name("pt-BR"), "Portuguese");
  EXPECT_EQ(language_name("xx"), "xx");
}

}  // namespace
}  // namespace heddle::serve
