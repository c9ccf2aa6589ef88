// `heddle evaluate`: the quality of translations against references, as sacreBLEU counts it, or the
// perplexity of a language model.
#include <algorithm>
#include <cstdio>
#include <memory>

#include "cli/commands.h"
#include "cli/evaluate_generated.h"
#include "cli/evaluate_language.h"
#include "cli/training_run.h"
#include "heddle/base/error.h"
#include "heddle/decode/translator.h"
#include "heddle/io/atomic_file.h"
#include "heddle/io/json.h"
#include "heddle/text/line_reader.h"
#include "heddle/text/score/metric.h"

namespace heddle::cli {

namespace {

using Lines = std::vector<std::string>;

/// The options as the command line has them.
struct Options {
  std::string hypotheses, tsv, sources, save, model;
  std::vector<std::string> references;
  std::string metrics = "bleu,chrf,ter", tokenization = "13a", language;
  bool lowercase = false, sentences = false, json = false, shortlist = false;
  int64_t digits = 1, beam = 1, threads = 0;
  std::string device = "cpu";
  bool generates = false;
  int64_t max_new_tokens = 256;
  LanguageEvaluation perplexity;
};

/// What is compared: a line of each for each line.
struct Texts {
  Lines sources, hypotheses;
  std::vector<Lines> references;
};

/// The lines of a file, or of the standard input for "-"; one that is too long would be counted
/// wrong.
Lines read_lines(const std::string& path) {
  text::LineReader reader(
      path == "-" ? text::read_from(0, "standard input") : text::read_from_file(path), path);
  Lines lines;
  for (std::string line; reader.next(line);) {
    HEDDLE_CHECK(!reader.skipped(), path, ": line ", reader.lines(), ": found more than ",
                 text::kLongestLine, " bytes");
    lines.push_back(std::move(line));
  }
  return lines;
}

/// Columns by tabs: the first one and then references.
void read_table(const std::string& path, Lines& first, std::vector<Lines>& references) {
  for (const std::string& line : read_lines(path)) {
    size_t column = 0;
    for (size_t begin = 0; begin <= line.size(); ++column) {
      const size_t end = std::min(line.find('\t', begin), line.size());
      if (column > references.size()) {
        HEDDLE_CHECK(first.size() == 1, path, ": line ", first.size(), ": found more than ",
                     references.size() + 1, " columns; expected as many as before");
        references.emplace_back();
      }
      (column == 0 ? first : references[column - 1]).push_back(line.substr(begin, end - begin));
      begin = end + 1;
    }
    HEDDLE_CHECK(column == references.size() + 1 && column >= 2, path, ": line ", first.size(),
                 ": found ", column, " columns; expected ",
                 std::max<size_t>(2, references.size() + 1), ", parted by tabs");
  }
}

Texts read_texts(const Options& options) {
  Texts texts;
  const bool translates = !options.model.empty();
  Lines& first = translates ? texts.sources : texts.hypotheses;
  const std::string& first_file = translates ? options.sources : options.hypotheses;
  if (!options.tsv.empty()) {
    HEDDLE_CHECK(first_file.empty() && options.references.empty(),
                 "evaluate: found --tsv and other files; expected one or the other");
    read_table(options.tsv, first, texts.references);
    return texts;
  }
  HEDDLE_CHECK(!first_file.empty() && !options.references.empty(), "evaluate: expected ",
               translates ? "--sources" : "--hypotheses", " and --references, or --tsv");
  first = read_lines(first_file);
  for (const std::string& path : options.references) texts.references.push_back(read_lines(path));
  return texts;
}

void save_lines(const std::string& path, const Lines& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  io::write_file(path, text);
}

/// The translations of the sources take the place of hypotheses.
void translate(const Options& options, Texts& texts) {
  decode::TranslatorSettings settings =
      decode::TranslatorSettings::of(device_of(options.device).type);
  settings.threads = static_cast<int>(options.threads);
  settings.shortlist = options.shortlist;
  settings.source_language = options.language;
  decode::Options decode;
  decode.beam = static_cast<int>(options.beam);
  decode.check();
  const decode::Translator translator(options.model, settings);
  for (auto& translation : translator.translate(texts.sources, decode)) {
    texts.hypotheses.push_back(std::move(translation.text));
  }
}

/// The answers of a language model are the hypotheses.
Texts answers_of(const Options& options) {
  GeneratedEvaluation task{
      .data = options.perplexity.data,
      .model = options.perplexity.adapter.empty() ? options.model : options.perplexity.adapter};
  task.threads = options.threads;
  task.max_new_tokens = options.max_new_tokens;
  GeneratedAnswers made = generate_answers(task);
  return {.sources = {},
          .hypotheses = std::move(made.answers),
          .references = {std::move(made.references)}};
}

std::vector<std::string> names_of(const std::string& list) {
  std::vector<std::string> names;
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(',', begin), list.size());
    names.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return names;
}

io::Value json_of(const text::score::Score& score, size_t references, int64_t digits) {
  io::Value value;
  value.set("name", score.name);
  value.set("score", std::stod(text::score::fixed(score.value, static_cast<int>(digits))));
  value.set("signature", score.signature);
  if (!score.details.empty()) value.set("verbose_score", score.details);
  value.set("nrefs", static_cast<int64_t>(references));
  return value;
}

/// One line a sentence: the score of each metric, parted by tabs.
std::string sentence_table(const std::vector<std::unique_ptr<text::score::Metric>>& metrics,
                           const Texts& texts, int digits) {
  std::vector<std::string> rows(texts.hypotheses.size());
  for (const auto& metric : metrics) {
    const auto scores = score_sentences(*metric, texts.hypotheses, texts.references);
    for (size_t i = 0; i < rows.size(); ++i) {
      if (!rows[i].empty()) rows[i] += '\t';
      rows[i] += text::score::fixed(scores[i].value, digits);
    }
  }
  std::string table;
  for (const std::string& row : rows) {
    table += row;
    table += '\n';
  }
  return table;
}

void evaluate(const Options& options) {
  HEDDLE_CHECK(options.digits >= 0 && options.digits <= 12, "--digits: found ", options.digits,
               "; expected 0 to 12");
  const text::score::MetricOptions counting{text::score::tokenization_of(options.tokenization),
                                            options.lowercase, options.sentences};
  std::vector<std::unique_ptr<text::score::Metric>> metrics;
  for (const std::string& name : names_of(options.metrics)) {
    metrics.push_back(text::score::make_metric(name, counting));
  }
  Texts texts = options.generates ? answers_of(options) : read_texts(options);
  if (!options.generates && !options.model.empty()) translate(options, texts);
  if (!options.save.empty()) save_lines(options.save, texts.hypotheses);
  const auto digits = static_cast<int>(options.digits);
  if (options.sentences) {
    print(sentence_table(metrics, texts, digits));
    return;
  }
  std::string text;
  io::Value::List list;
  for (const auto& metric : metrics) {
    const auto score = score_corpus(*metric, texts.hypotheses, texts.references);
    text += score.format(digits);
    text += '\n';
    list.push_back(json_of(score, texts.references.size(), options.digits));
  }
  print(options.json ? io::to_json(io::Value(std::move(list)), 1) + "\n" : text);
}

}  // namespace

void add_evaluate_command(const Command& parent) {
  const Command command = parent.add_command(
      "evaluate",
      "Score translations against references as sacreBLEU does, or a language model by perplexity");
  const auto options = std::make_shared<Options>();
  command.option("--hypotheses", options->hypotheses, "Translations, one a line; - reads stdin",
                 "FILE");
  command.option("--references", options->references,
                 "References, a line for each; may be given several times", "FILE");
  command.option("--tsv", options->tsv,
                 "In place of the two: hypothesis (or source, with --model), tab, references",
                 "FILE");
  command.option("--metric", options->metrics, "Of bleu, chrf, chrf++, ter", "LIST");
  command.option("--tokenize", options->tokenization, "For BLEU: 13a, intl, char, zh or none",
                 "NAME");
  command.flag("--lowercase", options->lowercase, "Compare without case (TER always does)");
  command.flag("--sentences", options->sentences, "A line of scores for each line");
  command.option("--digits", options->digits, "Digits behind the point");
  command.flag("--json", options->json, "Print JSON");
  command.option("--model", options->model,
                 "Translate first: the model's directory; with --dataset a language model", "DIR");
  command.option("--sources", options->sources, "What is translated, one a line", "FILE");
  command.option("--save", options->save, "Write the translations there", "FILE");
  command.option("--beam", options->beam, "Hypotheses kept; 1: greedy");
  command.option("--threads", options->threads, "Workers; 0: one a processor");
  command.option("--device", options->device, "cpu, cuda or auto; --generate answers on the CPU",
                 "KIND");
  command.option("--source-language", options->language, "Where sentences end: en, de, …", "NAME");
  command.flag("--shortlist", options->shortlist, "Use the model's lexical shortlist");
  command.footer(
      "Examples:\n"
      "  heddle evaluate --hypotheses out.de --references ref.de\n"
      "  heddle evaluate --model model --tsv dev.en-de.tsv --metric bleu,chrf++ --json\n"
      "  heddle evaluate --model gemma-3-270m-it --dataset chats.jsonl\n"
      "  heddle evaluate --model gemma-3-270m-it --dataset pairs.jsonl --generate --metric bleu\n");
  options->perplexity.data.add_to(command);
  command.option("--adapter", options->perplexity.adapter, "With --dataset: an adapter", "DIR");
  command.flag("--generate", options->generates,
               "With --dataset: answer each conversation and score the answers");
  command.option("--max-new-tokens,--max_new_tokens", options->max_new_tokens, "Of an answer");
  command.run([options] {
    const bool has_dataset = !options->perplexity.data.dataset.empty();
    HEDDLE_CHECK(has_dataset || !options->generates,
                 "evaluate: --generate without --dataset; "
                 "expected conversations to answer");
    if (!has_dataset || options->generates) return evaluate(*options);
    options->perplexity.model = options->model;
    options->perplexity.threads = options->threads;
    options->perplexity.device = options->device;
    options->perplexity.json = options->json;
    evaluate_language(options->perplexity);
  });
}

}  // namespace heddle::cli
