// Raw text in, raw text out: one model (or several that vote), its tokenizers, and worker threads
// that tokenise, decode and put together again.
//
//   const heddle::decode::Translator translator("model-directory");
//   translator.translate("The disk is full.").text;              // one line
//   translator.translate(lines, {.beam = 4});                    // many, in their order
//   translator.translate_stream(source, sink, {}, {});           // any number, bounded memory
//
// A line gives the same translation whatever is translated beside it, in whatever order and with
// however many threads. One line of output for each line of input, whatever comes.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "heddle/decode/options.h"
#include "heddle/decode/statistics.h"
#include "heddle/model/transformer.h"

namespace heddle::decode {

/// How a Translator works; what a sentence is to become is said by Options.
struct TranslatorSettings {
  int threads = 0;  ///< workers; 0: one a processor
  model::Precision precision = model::Precision::native;

  /// On a GPU models are bf16, or f16. `decoders` of the threads decode, each on a stream of the
  /// GPU with rows of its own; the others do the text.
  DeviceType device = DeviceType::cpu;
  int decoders = 3;

  /// Bytes of the GPU's memory, at most, with the weights and CUDA's own: fewer rows and decoders
  /// where those above do not fit. 0: four fifths of what is free.
  int64_t gpu_memory = 0;

  /// Threads beside the workers that do the text alone, of streams; 0: workers do both, or, on a
  /// GPU, as many as the decoders leave.
  int text_threads = 0;

  bool shortlist = false;        ///< use the model's lexical shortlist, or `shortlist_file`
  std::string shortlist_file{};  ///< a Marian binary shortlist; empty: the one beside the model

  int rows = 64;                 ///< sentences a worker decodes at once
  int64_t encode_tokens = 1024;  ///< most source tokens of one packed encoder batch
  int refill_rows = 16;          ///< rows that must be free before more are encoded
  int64_t window_lines = 2048;   ///< lines read ahead and sorted by length

  int64_t max_source_tokens = 256;   ///< longer sentences are cut and joined again
  int64_t max_line_bytes = 4 << 20;  ///< longer lines are refused: an empty line
  bool split_sentences = false;      ///< each sentence of a line is translated alone
  std::string source_language{};     ///< "en": where sentences end
  bool allow_unknown = false;        ///< the unknown token may be written
  bool fused_choice = true;          ///< off: logits are stored before the choice
  bool graphs = true;                ///< off: on a GPU each kernel of a step is launched by itself
  bool parallel_text = true;         ///< off: one thread does all the text, as most translators do

  /// What suits a device: on a GPU a step takes long enough for thousands of rows. Rows that do not
  /// fit its memory are left out.
  static TranslatorSettings of(DeviceType device);
};

/// One way to translate a line. For lines that were cut, pieces are side by side: tokens and token
/// scores one after the other, scores added up, alignments with positions counted through.
struct Variant {
  std::string text;
  double score = 0;                 ///< Σ log p / n^length_penalty
  std::vector<std::string> pieces;  ///< tokens as text; only with scores or alignments
  std::vector<float> token_scores;  ///< log p of each token, the end included
  struct Link {
    int32_t source, target;  ///< token positions
    float weight;
  };
  std::vector<Link> alignment;  ///< every pair of one piece, weights of a target token add up to 1
};

/// What became of one line.
struct Translation {
  std::string text;               ///< of the best variant; never holds a line feed
  std::vector<Variant> variants;  ///< best first; empty unless n_best > 1, scores or alignments
  std::vector<std::string> source_pieces;  ///< tokens of the source; only with alignments
};

class Translator {
 public:
  /// Reads a model of any known format (model/formats/formats.h) with its tokenizers.
  explicit Translator(const std::string& model, const TranslatorSettings& settings = {});

  /// Several models with one vocabulary; the mean of their log-probabilities decides.
  explicit Translator(std::span<const std::string> models, const TranslatorSettings& settings = {});

  /// A model in memory: its weights are packed, its vocabularies read from their paths.
  explicit Translator(const model::ModelFiles& model, const TranslatorSettings& settings = {});

  ~Translator();
  Translator(Translator&&) noexcept;
  Translator& operator=(Translator&&) noexcept;

  /// One line, on the calling thread.
  Translation translate(const std::string& line, const Options& options = {}) const;

  /// Lines in, translations out, in their order. `prefixes`, when not empty, holds for each line
  /// the text its translation begins with.
  std::vector<Translation> translate(std::span<const std::string> lines,
                                     const Options& options = {},
                                     std::span<const std::string> prefixes = {}) const;

  /// A line without its end; its translation begins with `prefix`.
  struct InputLine {
    std::string text, prefix;
  };

  /// Gives the next line; false at the end of the input. Called from one thread at a time, not the
  /// caller's.
  using Source = std::function<bool(InputLine& line)>;

  /// Takes translations in the order of the lines, on the calling thread.
  using Sink = std::function<void(Translation&& translation)>;

  struct Control {
    const std::atomic<bool>* stop = nullptr;  ///< set: ends soon; what is not written is dropped
    uint64_t first_line = 0;                  ///< number of the first line, names random numbers
    std::function<void(const Statistics&)> progress{};  ///< called now and then while it runs
    double progress_seconds = 0.5;
  };

  /// Translates lines as they come until the source ends. Memory is bounded by the window. An
  /// exception of source or sink ends it and is thrown again here. Several threads may call at
  /// once.
  Statistics translate_stream(const Source& source, const Sink& sink, const Options& options,
                              const Control& control) const;

  const model::TransformerConfig& config() const;
  int threads() const;
  bool has_shortlist() const;
  int64_t model_bytes() const;  ///< memory of the packed weights

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace heddle::decode
