// The lines of one call to a Translator: a reader at one end, the order restored at the other.
#pragma once

#include <memory>
#include <optional>
#include <thread>

#include "heddle/decode/line_pool.h"
#include "heddle/decode/translator.h"
#include "heddle/decode/worker.h"
#include "heddle/text/ordered_queue.h"

namespace heddle::decode {

/// What ends a stream that was asked to stop.
struct Stopped {};

/// Threads of one call: workers that decode, and others for text alone; none: workers do both.
struct Crew {
  int decoding = 1, text = 0;
};

class Stream {
 public:
  Stream(const TextSettings& text, const Options& options, const TranslatorSettings& settings,
         const Crew& crew);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Either all lines at once …
  void add(const std::string& line, std::string prefix);
  void close();

  // … or a thread that reads them, no more than the window holds.
  void read(const Translator::Source& source, const Translator::Control& control);

  /// Takes the translations in their order until the last; throws what any thread has thrown.
  void write(const Translator::Sink& sink, const Translator::Control& control, const Timer& timer);

  void fail(const std::exception_ptr& error);
  void join_reader();

  Job& job() { return job_; }
  const Options& options() const { return *options_; }
  const Crew& crew() const { return crew_; }
  Statistics statistics(double seconds);

 private:
  struct Done {
    LinePointer line;
    Translation translation;
  };

  void open(LinePointer line);
  void report(const Translator::Control& control, const Timer& timer);

  std::shared_ptr<const Options> options_;
  LinePool pool_;
  Job job_;
  TextPath text_;  // of the thread that does all the text, when the workers do not
  const Crew crew_;
  const size_t max_line_bytes_;
  text::OrderedWindow<Done> window_;
  std::thread reader_;
  std::atomic<bool> abandoned_{false};
  uint64_t lines_ = 0;
  Statistics text_statistics_;  // of the reader, when it prepares the lines
  double next_report_ = 0;
};

}  // namespace heddle::decode
