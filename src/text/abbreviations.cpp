#include "heddle/text/abbreviations.h"

#include <algorithm>
#include <span>

namespace heddle::text {

namespace {

using Words = std::span<const std::string_view>;

// Without the last full stop, first letter small.
constexpr std::string_view kGeneral[] = {"dr", "prof", "st", "mr", "mrs", "ms", "cf", "vs", "al"};
constexpr std::string_view kGeneralNumber[] = {"no", "nr", "fig", "art", "vol",
                                               "p",  "pp", "ca",  "op"};

constexpr std::string_view kEnglish[] = {
    "e.g", "i.e", "etc", "jr",  "sr",   "rev",    "gen", "col",    "capt", "lt",  "sgt",
    "gov", "sen", "rep", "hon", "pres", "messrs", "viz", "approx", "dept", "est", "inc"};
constexpr std::string_view kEnglishNumber[] = {"ch",  "sec",  "eq",  "nos", "ver", "jan",
                                               "feb", "mar",  "apr", "jun", "jul", "aug",
                                               "sep", "sept", "oct", "nov", "dec"};

constexpr std::string_view kGerman[] = {
    "z.B",   "d.h",  "u.a", "bzw",  "usw", "ggf",  "evtl", "vgl",  "inkl", "exkl",
    "zzgl",  "bspw", "hr",  "fr",   "frl", "dipl", "ing",  "sog",  "o.Ä",  "u.Ä",
    "i.d.R", "v.a",  "s.o", "s.u",  "etc", "str",  "geb",  "gest", "max",  "min",
    "mind",  "allg", "dt",  "engl", "z",   "d",    "u"};
constexpr std::string_view kGermanNumber[] = {"abb", "abs",  "kap", "bd",   "tab",
                                              "s",   "ziff", "gem", "aufl", "tel"};

constexpr std::string_view kFrench[] = {"m",      "mm", "mme", "mlle", "etc", "p.ex",
                                        "c.-à-d", "av", "env", "éd",   "ex"};
constexpr std::string_view kFrenchNumber[] = {"chap", "n", "tél", "t"};

constexpr std::string_view kSpanish[] = {"sr",  "sra", "srta", "sres", "dra", "ud",
                                         "uds", "vd",  "p.ej", "ej",   "etc", "ee.uu",
                                         "lic", "ing", "d",    "dña"};
constexpr std::string_view kSpanishNumber[] = {"núm", "pág", "págs", "cap", "tel", "n"};

constexpr std::string_view kPortuguese[] = {"sr",   "sra", "srta", "dra", "profa", "exmo", "exma",
                                            "p.ex", "ex",  "etc",  "av",  "eng",   "v.g"};
constexpr std::string_view kPortugueseNumber[] = {"núm", "pág", "págs", "cap", "tel", "n", "séc"};

constexpr std::string_view kItalian[] = {"sig", "sig.ra", "sigg", "dott", "dott.ssa", "ecc",
                                         "es",  "p.es",   "ing",  "avv",  "on"};
constexpr std::string_view kItalianNumber[] = {"pag", "pagg", "cap", "n", "tel", "sec"};

constexpr std::string_view kDutch[] = {"dhr", "mevr",  "mw",  "bijv", "bv", "d.w.z", "enz",
                                       "o.a", "m.a.w", "drs", "ir",   "mr", "resp"};
constexpr std::string_view kDutchNumber[] = {"blz", "nr", "hfst", "tel"};

struct Language {
  std::string_view name;
  Words always, before_number;
};

constexpr Language kLanguages[] = {
    {"en", kEnglish, kEnglishNumber},       {"de", kGerman, kGermanNumber},
    {"fr", kFrench, kFrenchNumber},         {"es", kSpanish, kSpanishNumber},
    {"pt", kPortuguese, kPortugueseNumber}, {"it", kItalian, kItalianNumber},
    {"nl", kDutch, kDutchNumber},
};

/// Equal, but for the case of the first letter (ASCII; others are compared as they are).
bool same_word(std::string_view word, std::string_view listed) {
  if (word.size() != listed.size()) return false;
  const char first = word[0] >= 'A' && word[0] <= 'Z' ? static_cast<char>(word[0] + 32) : word[0];
  return first == listed[0] && word.substr(1) == listed.substr(1);
}

bool holds(Words words, std::string_view word) {
  return std::any_of(words.begin(), words.end(),
                     [&](std::string_view listed) { return same_word(word, listed); });
}

}  // namespace

Abbreviation abbreviation_of(std::string_view word, std::string_view language) {
  if (word.empty()) return Abbreviation::none;
  if (holds(kGeneral, word)) return Abbreviation::always;
  if (holds(kGeneralNumber, word)) return Abbreviation::before_number;
  for (const Language& known : kLanguages) {
    if (known.name != language) continue;
    if (holds(known.always, word)) return Abbreviation::always;
    if (holds(known.before_number, word)) return Abbreviation::before_number;
  }
  return Abbreviation::none;
}

bool has_dotted_ordinals(std::string_view language) {
  constexpr std::string_view kSuch[] = {"de", "da", "nb", "nn", "no", "fi", "cs", "sk", "sl", "hr",
                                        "sr", "bs", "hu", "et", "lv", "is", "pl", "tr", "lb"};
  return holds(kSuch, language);
}

}  // namespace heddle::text
