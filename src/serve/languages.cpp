#include "heddle/serve/languages.h"

#include <algorithm>

namespace heddle::serve {

namespace {

constexpr std::pair<std::string_view, std::string_view> kNames[] = {
    {"ar", "Arabic"},     {"bg", "Bulgarian"},  {"ca", "Catalan"},    {"cs", "Czech"},
    {"da", "Danish"},     {"de", "German"},     {"el", "Greek"},      {"en", "English"},
    {"es", "Spanish"},    {"et", "Estonian"},   {"fa", "Persian"},    {"fi", "Finnish"},
    {"fr", "French"},     {"he", "Hebrew"},     {"hi", "Hindi"},      {"hr", "Croatian"},
    {"hu", "Hungarian"},  {"id", "Indonesian"}, {"is", "Icelandic"},  {"it", "Italian"},
    {"ja", "Japanese"},   {"ko", "Korean"},     {"lt", "Lithuanian"}, {"lv", "Latvian"},
    {"nb", "Norwegian"},  {"nl", "Dutch"},      {"pl", "Polish"},     {"pt", "Portuguese"},
    {"ro", "Romanian"},   {"ru", "Russian"},    {"sk", "Slovak"},     {"sl", "Slovenian"},
    {"sr", "Serbian"},    {"sv", "Swedish"},    {"tr", "Turkish"},    {"uk", "Ukrainian"},
    {"vi", "Vietnamese"}, {"zh", "Chinese"},
};

bool is_code(std::string_view text) {
  return (text.size() == 2 || text.size() == 3) &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= 'a' && c <= 'z'; });
}

}  // namespace

Direction direction_of(std::string_view model) {
  const size_t dash = std::min(model.find('-'), model.size());
  const std::string_view source = model.substr(0, dash);
  const std::string_view target = model.substr(std::min(dash + 1, model.size()));
  if (!is_code(source) || !is_code(target.substr(0, target.find('-')))) return {};
  return {std::string(source), std::string(target)};
}

std::string_view language_name(std::string_view code) {
  const std::string_view language = code.substr(0, code.find('-'));
  for (const auto& [known, name] : kNames) {
    if (known == language) return name;
  }
  return code;
}

}  // namespace heddle::serve
