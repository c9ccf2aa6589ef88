#include "cli/distil_keys.h"

namespace heddle::cli {

using enum KeyKind;

namespace {

const std::vector<Key>& distil_keys() {
  static const std::vector<Key> keys{
      {"output_dir", text, "", "folder of all that is made"},
      {"train_file", texts, "", "the corpus: TSV or jsonl files; .zst, .gz"},
      {"validation_file", texts, "", "as train_file; its scores are the report's first"},
      {"source_column", integer, "1", "of a TSV"},
      {"target_column", integer, "2", "of a TSV"},
      {"source_field", text, "source", "of jsonl; translation.en reaches into an object"},
      {"target_field", text, "target", "of jsonl"},
      {"test_file", texts, "", "more texts to score, TSV; none of them is trained on"},
      {"test_source_column", integer, "1", "of these"},
      {"test_target_column", integer, "2", "of these"},
      {"speed_file", text, "", "lines to measure words/s with; default: those of validation_file"},

      {"vocab", texts, "", "SentencePiece model of both sides, or two; default: one is made"},
      {"vocab_size", integer, "8000", "pieces of the one that is made"},
      {"vocab_lines", integer, "1000000", "a random sample of so many lines makes it; 0: all"},
      {"character_coverage", number, "0.9995", "share of characters with pieces"},

      {"teacher", tree, "", "keys of heddle train"},
      {"teachers", integer, "1", "so many are trained, of seeds 1, 2, …; they translate together"},
      {"teacher_model", texts, "", "trained teachers instead, with the vocabulary above"},

      {"num_beams", integer, "4", "hypotheses of the teachers; 1: greedy"},
      {"num_return_sequences", integer, "1", "translations of a source to choose from"},
      {"length_penalty", number, "1", "scores are divided by length^X"},
      {"select", text, "score", "of these: the best by score, or by bleu against the reference"},
      {"drop_worst", number, "0.02", "share of sources left out, those the teachers doubt most"},
      {"max_length_ratio", number, "3", "of characters, either way; others are left out; 0: any"},

      {"student", tree, "", "keys of heddle train, for all students"},
      {"students", tree, "", "name: keys of heddle train"},
      {"strategies", texts, "",
       "what each student learns from: original (the corpus), sequence (the teachers' "
       "translations), "
       "word (also their choices at each word)"},
      {"teacher_weight", number, "0.5", "of the teachers' choices, with the strategy word"},
      {"teacher_top_k", integer, "8", "tokens kept of each choice"},
      {"int8", tree, "", "keys of heddle train for distilled students that learn to be int8"},

      {"eval_beams", integer, "1", "hypotheses of students in the report; teachers use num_beams"},
      {"device", text, "auto", "cpu, cuda or auto; int8 models are measured on the CPU"},
      {"threads", integer, "0", "0: one a processor"},
      {"speed_threads", integer, "1", "of the CPU, when words/s are measured there"},
  };
  return keys;
}

}  // namespace

const KeyTable& distil_table() {
  static const KeyTable table("distil", {&distil_keys()});
  return table;
}

}  // namespace heddle::cli
