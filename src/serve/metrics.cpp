#include "heddle/serve/metrics.h"

#include <unistd.h>

#include <fstream>

#include "heddle/base/error.h"

namespace heddle::serve {

namespace {

/// The names of models come from the command line and may hold anything.
std::string label(std::string_view name, std::string_view value) {
  std::string text = str(name, "=\"");
  for (const char c : value) {
    if (c == '"' || c == '\\') text += '\\';
    text += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
  }
  return text + '"';
}

void write_head(std::string& out, std::string_view name, std::string_view type,
                std::string_view help) {
  out += str("# HELP ", name, " ", help, "\n# TYPE ", name, " ", type, "\n");
}

void write_counters(std::string& out, std::string_view name, std::string_view help,
                    const std::map<std::string, uint64_t>& values) {
  write_head(out, name, "counter", help);
  for (const auto& [labels, value] : values) out += str(name, "{", labels, "} ", value, "\n");
}

int64_t resident_bytes() {
  int64_t pages = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

}  // namespace

template <size_t N>
void Metrics::add(Histogram<N>& histogram, const std::array<double, N>& bounds, double value) {
  size_t bin = 0;
  while (bin < N && value > bounds[bin]) ++bin;
  ++histogram.counts[bin];
  histogram.sum += value;
}

template <size_t N>
void Metrics::write(std::string& out, const std::string& name, const std::string& labels,
                    const std::array<double, N>& bounds, const Histogram<N>& histogram) {
  const std::string more = labels.empty() ? "" : labels + ",";
  const std::string whole = labels.empty() ? "" : "{" + labels + "}";
  uint64_t count = 0;
  for (size_t bin = 0; bin <= N; ++bin) {
    count += histogram.counts[bin];
    const std::string bound = bin < N ? str(bounds[bin]) : "+Inf";
    out += str(name, "_bucket{", more, "le=\"", bound, "\"} ", count, "\n");
  }
  out +=
      str(name, "_sum", whole, " ", histogram.sum, "\n", name, "_count", whole, " ", count, "\n");
}

void Metrics::request(std::string_view route, int status, double seconds) {
  const std::lock_guard lock(mutex_);
  ++requests_[str(label("route", route), ",", label("status", str(status)))];
  add(seconds_[label("route", route)], kSeconds, seconds);
}

void Metrics::refusal(std::string_view reason) {
  const std::lock_guard lock(mutex_);
  ++refusals_[label("reason", reason)];
}

void Metrics::translated(const std::string& model, const decode::Usage& usage) {
  const std::lock_guard lock(mutex_);
  source_tokens_[label("model", model)] += static_cast<uint64_t>(usage.source_tokens);
  target_tokens_[label("model", model)] += static_cast<uint64_t>(usage.target_tokens);
}

void Metrics::batch(int rows) {
  const std::lock_guard lock(mutex_);
  add(batch_rows_, kRows, rows);
}

void Metrics::load(const std::string& model, bool good) {
  const std::lock_guard lock(mutex_);
  ++loads_[str(label("model", model), ",", label("result", good ? "ok" : "failed"))];
}

std::string Metrics::text(const Gauges& gauges) const {
  std::string out;
  const std::lock_guard lock(mutex_);
  write_counters(out, "heddle_requests_total", "Requests answered.", requests_);
  write_counters(out, "heddle_refusals_total", "Requests refused, by reason.", refusals_);
  write_counters(out, "heddle_source_tokens_total", "Source tokens translated.", source_tokens_);
  write_counters(out, "heddle_target_tokens_total", "Target tokens written.", target_tokens_);
  write_counters(out, "heddle_model_loads_total", "Models read, at the start or anew.", loads_);
  write_head(out, "heddle_queue_tokens", "gauge", "Source tokens that wait.");
  for (const Gauges::Model& model : gauges.models) {
    out += str("heddle_queue_tokens{", label("model", model.name), "} ", model.queue_tokens, "\n");
  }
  write_head(out, "heddle_live_rows", "gauge", "Rows that are being decoded.");
  for (const Gauges::Model& model : gauges.models) {
    out += str("heddle_live_rows{", label("model", model.name), "} ", model.live_rows, "\n");
  }
  write_head(out, "heddle_connections", "gauge", "Open connections.");
  out += str("heddle_connections ", gauges.connections, "\n");
  write_head(out, "heddle_open_requests", "gauge",
             "Requests begun and not yet answered, this one too.");
  out += str("heddle_open_requests ", gauges.requests, "\n");
  write_head(out, "heddle_batch_rows", "histogram", "Rows of a decoder step.");
  write(out, "heddle_batch_rows", "", kRows, batch_rows_);
  write_head(out, "heddle_request_seconds", "histogram", "From the request line to the reply.");
  for (const auto& [route, histogram] : seconds_) {
    write(out, "heddle_request_seconds", route, kSeconds, histogram);
  }
  write_head(out, "process_resident_memory_bytes", "gauge", "Resident memory.");
  out += str("process_resident_memory_bytes ", resident_bytes(), "\n");
  return out;
}

}  // namespace heddle::serve
