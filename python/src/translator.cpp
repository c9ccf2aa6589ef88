// The translator: models, text and decoding behind three methods. heddle/translator.py is its face.
#include "heddle/decode/translator.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "bind.h"
#include "heddle/base/error.h"

namespace nb = nanobind;

namespace heddle::python {

namespace {

using decode::Options;
using decode::Translator;

model::Precision precision_of(const std::string& name) {
  if (name == "native") return model::Precision::native;
  if (name == "f32") return model::Precision::f32;
  if (name == "bf16") return model::Precision::bf16;
  HEDDLE_CHECK(name == "int8", "translator: found precision '", name,
               "'; expected native, f32, bf16 or int8");
  return model::Precision::int8;
}

std::vector<decode::Translation> translate(const Translator& translator,
                                           const std::vector<std::string>& lines,
                                           const Options& options,
                                           const std::vector<std::string>& prefixes) {
  options.check();
  const nb::gil_scoped_release released;
  return translator.translate(lines, options, prefixes);
}

void bind_options(nb::module_& module) {
  nb::class_<Options>(module, "TranslationOptions", "How sentences are decoded.")
      .def(nb::init<>())
      .def_rw("beam_size", &Options::beam)
      .def_rw("n_best", &Options::n_best)
      .def_rw("length_penalty", &Options::length_penalty)
      .def_rw("patience", &Options::patience)
      .def_rw("max_length_factor", &Options::max_length_factor)
      .def_rw("min_length", &Options::min_length)
      .def_rw("scores", &Options::scores)
      .def_rw("alignments", &Options::alignments)
      .def(
          "sample",
          [](Options& options, double temperature, int top_k, double top_p, uint64_t seed) {
            options.sampling = {true, temperature, top_k, top_p, seed};
          },
          nb::arg("temperature"), nb::arg("top_k"), nb::arg("top_p"), nb::arg("seed"))
      .def(
          "repetition",
          [](Options& options, double penalty, int no_repeat_ngram) {
            options.repetition = {penalty, no_repeat_ngram};
          },
          nb::arg("penalty"), nb::arg("no_repeat_ngram"));
}

void bind_results(nb::module_& module) {
  using Link = std::tuple<int32_t, int32_t, float>;
  nb::class_<decode::Variant>(module, "Variant", "One way to translate a line.")
      .def_ro("text", &decode::Variant::text)
      .def_ro("score", &decode::Variant::score, "Sum of log p, over length ** length_penalty.")
      .def_ro("pieces", &decode::Variant::pieces, "Its tokens as text.")
      .def_ro("token_scores", &decode::Variant::token_scores, "log p of each token.")
      .def_prop_ro(
          "alignment",
          [](const decode::Variant& variant) {
            std::vector<Link> links;
            for (const auto& link : variant.alignment) {
              links.emplace_back(link.source, link.target, link.weight);
            }
            return links;
          },
          "(source token, target token, weight) of every pair.");
  nb::class_<decode::Translation>(module, "Translation", "What became of one line.")
      .def_ro("text", &decode::Translation::text)
      .def_ro("variants", &decode::Translation::variants, "Best first.")
      .def_ro("source_pieces", &decode::Translation::source_pieces, "Tokens of the source.");
}

}  // namespace

void bind_translator(nb::module_& module) {
  bind_options(module);
  bind_results(module);
  nb::class_<Translator>(module, "TranslatorCore", "What heddle.Translator works with.")
      .def(
          "__init__",
          [](Translator* self, const std::vector<std::string>& models, int threads,
             const std::string& precision, bool shortlist, bool split_sentences,
             const std::string& source_language, int64_t max_source_tokens) {
            decode::TranslatorSettings settings;
            settings.threads = threads;
            settings.precision = precision_of(precision);
            settings.shortlist = shortlist;
            settings.split_sentences = split_sentences;
            settings.source_language = source_language;
            settings.max_source_tokens = max_source_tokens;
            const nb::gil_scoped_release released;
            new (self) Translator(std::span<const std::string>(models), settings);
          },
          nb::arg("models"), nb::arg("threads"), nb::arg("precision"), nb::arg("shortlist"),
          nb::arg("split_sentences"), nb::arg("source_language"), nb::arg("max_source_tokens"))
      .def("translate", &translate, nb::arg("lines"), nb::arg("options"), nb::arg("prefixes"))
      .def_prop_ro("threads", &Translator::threads)
      .def_prop_ro("has_shortlist", &Translator::has_shortlist);
}

}  // namespace heddle::python
