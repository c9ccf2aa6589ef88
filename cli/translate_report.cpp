#include "cli/translate_report.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <vector>

#include "cli/format.h"
#include "heddle/base/error.h"

namespace heddle::cli {

namespace {

std::string decimals(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

/// "1 line", "2 lines".
std::string counted(int64_t count, const char* noun) {
  return str(with_separators(count), " ", noun, count == 1 ? "" : "s");
}

/// 3725 → "1:02:05".
std::string clock_text(double seconds) {
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  char text[32];
  std::snprintf(text, sizeof text, "%lld:%02d:%02d", static_cast<long long>(whole / 3600),
                static_cast<int>(whole / 60 % 60), static_cast<int>(whole % 60));
  return text;
}

std::string token_scores_text(const decode::Variant& variant) {
  std::string text;
  for (size_t i = 0; i < variant.token_scores.size(); ++i) {
    if (i > 0) text += ' ';
    text += str(variant.pieces[i], ":", decimals(variant.token_scores[i], 4));
  }
  return text;
}

/// "source-target" of the source token that each target token looks at most.
std::string hard_alignment(const decode::Variant& variant) {
  const size_t count = variant.pieces.size();
  std::vector<const decode::Variant::Link*> best(count, nullptr);
  for (const decode::Variant::Link& link : variant.alignment) {
    const decode::Variant::Link*& place = best[static_cast<size_t>(link.target)];
    if (place == nullptr || link.weight > place->weight) place = &link;
  }
  std::string text;
  for (const decode::Variant::Link* link : best) {
    if (link == nullptr) continue;
    text += str(text.empty() ? "" : " ", link->source, "-", link->target);
  }
  return text;
}

/// As Marian writes it: target tokens apart by spaces, the weights of their source tokens by
/// commas.
std::string soft_alignment(const decode::Variant& variant) {
  std::string text;
  int32_t target = 0;
  for (size_t i = 0; i < variant.alignment.size(); ++i) {
    const decode::Variant::Link& link = variant.alignment[i];
    if (i > 0) text += link.target != target ? ' ' : ',';
    target = link.target;
    text += decimals(link.weight, 4);
  }
  return text;
}

std::string variant_text(const decode::Variant& variant, const Columns& columns) {
  std::string text = variant.text;
  if (columns.score) text += str("\t", decimals(variant.score, 6));
  if (columns.token_scores) text += str("\t", token_scores_text(variant));
  if (columns.alignment == Columns::Alignment::hard) text += str("\t", hard_alignment(variant));
  if (columns.alignment == Columns::Alignment::soft) text += str("\t", soft_alignment(variant));
  return text;
}

}  // namespace

std::string output_text(const decode::Translation& translation, int64_t number,
                        const Columns& columns) {
  if (!columns.number && !columns.score && columns.alignment == Columns::Alignment::none) {
    return translation.text + "\n";
  }
  // A line without text has no variants, and still its line with all columns.
  const std::vector<decode::Variant> empty(1);
  std::string text;
  for (const decode::Variant& variant :
       translation.variants.empty() ? empty : translation.variants) {
    if (columns.number) text += str(number, "\t");
    text += variant_text(variant, columns);
    text += '\n';
  }
  return text;
}

void Progress::show(const decode::Statistics& statistics, std::optional<double> all) {
  const bool terminal = ::isatty(STDERR_FILENO) != 0;
  const double pause = terminal ? 0.5 : 10;
  if (timer_.seconds() < next_ + pause || statistics.seconds <= 0) return;
  next_ = timer_.seconds();
  const double words = static_cast<double>(statistics.source_words) / statistics.seconds;
  std::string text = str(counted(statistics.lines, "line"), ", ",
                         with_separators(std::llround(words)), " words/s");
  if (all && statistics.lines > 0) {
    const double share = std::min(static_cast<double>(statistics.lines) / *all, 1.0);
    text += str(", ", percent_text(share), ", ",
                clock_text(statistics.seconds * (1 - share) / share), " left");
  }
  std::fprintf(stderr, terminal ? "\r\x1b[K%s" : "%s\n", text.c_str());
  shown_ = terminal;
}

void Progress::clear() {
  if (shown_) std::fputs("\r\x1b[K", stderr);
  shown_ = false;
}

std::string summary_text(const Run& run, bool profile) {
  const decode::Statistics& all = run.statistics;
  const double words = static_cast<double>(all.source_words) / std::max(all.seconds, 1e-9);
  std::string text = str(run.stopped ? "Stopped: " : "", counted(all.lines, "line"), ", ",
                         counted(all.source_words, "source word"), " in ", decimals(all.seconds, 2),
                         " s: ", with_separators(std::llround(words)), " words/s, ",
                         counted(all.threads, "thread"), "; model loaded in ",
                         seconds_text(run.load_seconds), "\n");
  if (run.first_line > 0) {
    text += str("  continued after line ", with_separators(run.first_line), "\n");
  }
  text += str("  latency of a line: median ", seconds_text(all.latency.percentile(0.5)), ", 95 % ",
              seconds_text(all.latency.percentile(0.95)), ", 99 % ",
              seconds_text(all.latency.percentile(0.99)), "; peak memory ",
              bytes_text(static_cast<double>(peak_memory())), "\n");
  const auto note = [&text](int64_t count, const char* what) {
    if (count > 0) text += str("  ", what, ": ", with_separators(count), "\n");
  };
  note(all.cut_lines, "lines translated in pieces, longer than the model takes");
  note(all.refused_lines, "empty lines for those above --max-line-bytes");
  note(all.unfinished, "translations that reached their length limit");
  text += run.quality;
  if (profile) {
    const decode::Profile& p = all.profile;
    text += "  time of the workers:";
    const auto part = [&](const char* name, double seconds) {
      text += str(" ", name, " ", percent_text(seconds / std::max(p.total(), 1e-9)));
    };
    part("text", p.text);
    part("encoder", p.encoder);
    part("decoder", p.decoder);
    part("projection", p.projection);
    part("search", p.search);
    part("idle", p.idle);
    text += "\n";
  }
  return text;
}

std::string summary_json(const Run& run) {
  const decode::Statistics& all = run.statistics;
  const decode::Profile& p = all.profile;
  const auto field = [](const char* name, double value, const char* end = ", ") {
    return str("\"", name, "\": ", json_number(value), end);
  };
  const auto whole = [](const char* name, int64_t value) {
    return str("\"", name, "\": ", value, ", ");
  };
  return str(
      "{", whole("lines", all.lines), whole("source_words", all.source_words),
      whole("source_tokens", all.source_tokens), whole("target_tokens", all.target_tokens),
      whole("cut_lines", all.cut_lines), whole("refused_lines", all.refused_lines),
      whole("unfinished", all.unfinished), whole("threads", all.threads),
      whole("first_line", run.first_line), "\"stopped\": ", run.stopped, ", ",
      field("seconds", all.seconds), field("load_seconds", run.load_seconds),
      field("words_per_second",
            static_cast<double>(all.source_words) / std::max(all.seconds, 1e-9)),
      whole("peak_memory", peak_memory()), "\"latency\": {",
      field("median", all.latency.percentile(0.5)), field("p95", all.latency.percentile(0.95)),
      field("p99", all.latency.percentile(0.99), "}, "), "\"profile\": {", field("text", p.text),
      field("encoder", p.encoder), field("decoder", p.decoder), field("projection", p.projection),
      field("search", p.search), field("idle", p.idle, "}}\n"));
}

int64_t peak_memory() {
  // Not the resource usage where it can be helped: that remembers the process that started this
  // one.
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::strtoll(line.c_str() + 6, nullptr, 10) * 1024;
  }
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<int64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace heddle::cli
