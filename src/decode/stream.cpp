#include "heddle/decode/stream.h"

#include <limits>

namespace heddle::decode {

namespace {

// Bytes of lines that may be open: read and not yet written. A line costs its text and some more.
constexpr size_t kWindowBytes = 4 << 20;
constexpr size_t kLineBytes = 256;

}  // namespace

Stream::Stream(const TextSettings& text, const Options& options, const TranslatorSettings& settings,
               const Crew& crew)
    : options_(std::make_shared<const Options>(options)),
      pool_(settings.window_lines, crew.decoding, crew.text > 0),
      job_{.source = pool_, .text_by_workers = settings.parallel_text, .text_apart = crew.text > 0},
      text_(text),
      crew_(crew),
      max_line_bytes_(static_cast<size_t>(settings.max_line_bytes)),
      window_(kWindowBytes + static_cast<size_t>(2 * settings.window_lines) * kLineBytes) {
  options.check();
  job_.done = [this](LinePointer line, Translation translation) {
    const uint64_t ticket = line->ticket;
    window_.put(ticket, {std::move(line), std::move(translation)});
  };
}

Stream::~Stream() {
  abandoned_ = true;
  if (reader_.joinable()) reader_.join();
}

void Stream::open(LinePointer line) {
  if (line->text.size() > max_line_bytes_) {
    line->refused = true;
    line->text = {};
  }
  line->number = lines_++;
  line->options = options_;
  if (!job_.text_by_workers) text_.prepare(*line, text_statistics_);
  pool_.add(std::move(line));
}

void Stream::add(const std::string& text, std::string prefix) {
  auto line = std::make_shared<Line>();
  line->text = text;
  line->prefix = std::move(prefix);
  line->ticket = window_.open(0);
  open(std::move(line));
}

void Stream::close() {
  pool_.close();
  window_.close();
}

void Stream::read(const Translator::Source& source, const Translator::Control& control) {
  lines_ = control.first_line;
  reader_ = std::thread([this, source, stop = control.stop] {
    try {
      Translator::InputLine input;
      while (!abandoned_ && source(input)) {
        if (stop != nullptr && *stop) break;
        auto line = std::make_shared<Line>();
        line->ticket = window_.open(input.text.size() + kLineBytes);
        line->text = std::move(input.text);
        line->prefix = std::move(input.prefix);
        open(std::move(line));
        input = {};
      }
      if (stop != nullptr && *stop) throw Stopped{};
      close();
    } catch (...) {
      fail(std::current_exception());
    }
  });
}

void Stream::report(const Translator::Control& control, const Timer& timer) {
  const double now = timer.seconds();
  if (!control.progress || now < next_report_) return;
  next_report_ = now + control.progress_seconds;
  control.progress(statistics(now));
}

void Stream::write(const Translator::Sink& sink, const Translator::Control& control,
                   const Timer& timer) {
  Statistics written;
  while (std::optional<Done> done = window_.take()) {
    if (!job_.text_by_workers) {
      const Share share(written.profile.text);
      done->translation = text_.finish(*done->line, *options_, written);
    }
    if (control.stop != nullptr && *control.stop) throw Stopped{};
    sink(std::move(done->translation));
    report(control, timer);
  }
  const std::lock_guard lock(job_.mutex);
  job_.statistics += written;
}

void Stream::fail(const std::exception_ptr& error) {
  abandoned_ = true;
  pool_.fail(error);
  window_.fail(error);
}

void Stream::join_reader() {
  if (!reader_.joinable()) return;
  reader_.join();
  const std::lock_guard lock(job_.mutex);
  job_.statistics += text_statistics_;
}

Statistics Stream::statistics(double seconds) {
  const std::lock_guard lock(job_.mutex);
  Statistics all = job_.statistics;
  all.seconds = seconds;
  all.threads = crew_.decoding + crew_.text;
  const Profile& profile = all.profile;
  all.profile.search = std::max(0.0, job_.worker_seconds - profile.total());
  return all;
}

}  // namespace heddle::decode
