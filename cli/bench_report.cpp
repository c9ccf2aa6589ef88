#include "cli/bench_report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "cli/format.h"
#include "heddle/base/error.h"

namespace heddle::cli {

namespace {

std::string fixed(double value, int decimals) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", decimals, value);
  return text;
}

/// One pass of a result, with the names that JSON and plot give it.
struct PassView {
  const char* name;
  const PassTimes& times;
  double flops;

  double exact_rate(const BenchResult& r) const { return flops * r.visible_pairs / times.skipping; }
  double tile_rate(const BenchResult& r) const { return flops * r.tile_elements / times.skipping; }
};

std::vector<PassView> passes(const BenchResult& r) {
  return {{"forward", r.forward, forward_flops(r)}, {"backward", r.backward, backward_flops(r)}};
}

void add_cells(std::string& line, const std::vector<std::string>& cells) {
  constexpr size_t kWidths[] = {22, 7, 3, 3, 4, 8, 9, 9, 8, 8, 7, 7, 9};
  for (size_t n = 0; n < cells.size(); ++n) {
    line +=
        n == 0 ? left_aligned(cells[n], kWidths[n]) : str(" ", right_aligned(cells[n], kWidths[n]));
  }
  line += "\n";
}

/// Bytes a second of the forward pass over keys and values.
double key_value_rate(const BenchResult& r) { return r.key_value_bytes / r.forward.skipping; }

std::string read_line(const BenchResult& r) {
  return str("  forward reads K and V at ", fixed(key_value_rate(r) / 1e9, 1),
             " GB/s: ", fixed(100 * key_value_rate(r) / *r.read_rate, 0), " % of the ",
             fixed(*r.read_rate / 1e9, 1), " GB/s of a plain sum over memory\n");
}

}  // namespace

std::string bench_table(const std::vector<BenchResult>& results) {
  std::string text =
      "Rates in GFLOP/s: exact counts visible pairs only, tile counts whole live tiles; x off is "
      "the "
      "time\nwith skipping off over that with skipping on; % gemm is the tile rate over OpenBLAS's "
      "sgemm.\n";
  add_cells(text, {"mask", "T", "H", "K", "E", "density", "pass", "time", "exact", "tile", "x off",
                   "% gemm", "memory"});
  for (const BenchResult& r : results) {
    for (const PassView& pass : passes(r)) {
      const PassTimes& times = pass.times;
      add_cells(text, {r.mask, str(r.length), str(r.heads), str(r.kv_heads), str(r.head_dim),
                       percent_text(r.density), pass.name, seconds_text(times.skipping),
                       fixed(pass.exact_rate(r) / 1e9, 1), fixed(pass.tile_rate(r) / 1e9, 1),
                       times.dense ? fixed(*times.dense / times.skipping, 2) : "-",
                       r.sgemm_rate ? fixed(100 * pass.tile_rate(r) / *r.sgemm_rate, 0) : "-",
                       r.peak_bytes > 0 ? bytes_text(static_cast<double>(r.peak_bytes)) : "-"});
    }
    if (r.read_rate) text += read_line(r);
  }
  return text;
}

std::string bench_json(const std::vector<BenchResult>& results, int threads) {
  std::string text = str("{\"threads\": ", threads, ", \"results\": [");
  for (const BenchResult& r : results) {
    text +=
        str(&r == results.data() ? "" : ",", "\n  {\"mask\": ", json_string(r.mask),
            ", \"length\": ", r.length, ", \"heads\": ", r.heads, ", \"kv_heads\": ", r.kv_heads,
            ", \"head_dim\": ", r.head_dim, ", \"density\": ", json_number(r.density),
            ", \"visible_pairs\": ", json_number(r.visible_pairs),
            ", \"tile_elements\": ", json_number(r.tile_elements));
    for (const PassView& pass : passes(r)) {
      text += str(", \"", pass.name,
                  "\": {\"implementation\": ", json_string(pass.times.implementation),
                  ", \"seconds\": ", json_number(pass.times.skipping));
      if (pass.times.dense) {
        text += str(", \"seconds_skipping_off\": ", json_number(*pass.times.dense));
      }
      text += str(", \"exact_flops_per_second\": ", json_number(pass.exact_rate(r)),
                  ", \"tile_flops_per_second\": ", json_number(pass.tile_rate(r)), "}");
    }
    if (r.sgemm_rate) text += str(", \"sgemm_flops_per_second\": ", json_number(*r.sgemm_rate));
    if (r.read_rate) {
      text += str(", \"key_value_bytes_per_second\": ", json_number(key_value_rate(r)),
                  ", \"read_bytes_per_second\": ", json_number(*r.read_rate));
    }
    if (r.peak_bytes > 0) text += str(", \"peak_bytes\": ", r.peak_bytes);
    text += "}";
  }
  return text + "\n]}\n";
}

namespace {

/// A logarithmic axis from one power of ten to another, on pixels [begin, end].
struct Axis {
  Axis(std::vector<double> values, double first, double last) : begin(first), end(last) {
    const auto [least, most] = std::minmax_element(values.begin(), values.end());
    low = static_cast<int>(std::floor(std::log10(*least)));
    high = std::max(static_cast<int>(std::ceil(std::log10(*most))), low + 1);
  }
  double at(double value) const {
    return begin + (std::log10(value) - low) / (high - low) * (end - begin);
  }
  double begin, end;
  int low, high;  // powers of ten
};

std::string label(double x, double y, const char* anchor, const std::string& text) {
  return str("<text x=\"", fixed(x, 1), "\" y=\"", fixed(y, 1), "\" text-anchor=\"", anchor, "\">",
             text, "</text>\n");
}

std::string grid(const Axis& x, const Axis& y) {
  std::string text;
  const auto line = [&](double x1, double y1, double x2, double y2) {
    text += str("<path d=\"M", fixed(x1, 1), " ", fixed(y1, 1), "L", fixed(x2, 1), " ",
                fixed(y2, 1), "\" stroke=\"#ddd\"/>\n");
  };
  for (int power = x.low; power <= x.high; ++power) {
    const double at = x.at(std::pow(10, power));
    line(at, y.begin, at, y.end);
    text += label(at, y.begin + 18, "middle", percent_text(std::pow(10, power)));
  }
  for (int power = y.low; power <= y.high; ++power) {
    const double at = y.at(std::pow(10, power));
    line(x.begin, at, x.end, at);
    text += label(x.begin - 8, at + 4, "end", seconds_text(std::pow(10, power)));
  }
  return text;
}

struct Series {
  const char* name;
  const char* color;
  bool hollow;
  double (*seconds)(const BenchResult&);  ///< 0: not measured
};

constexpr Series kSeries[] = {
    {"forward", "#1f77b4", false, [](const BenchResult& r) { return r.forward.skipping; }},
    {"backward", "#d62728", false, [](const BenchResult& r) { return r.backward.skipping; }},
    {"forward, skipping off", "#1f77b4", true,
     [](const BenchResult& r) { return r.forward.dense.value_or(0); }},
    {"backward, skipping off", "#d62728", true,
     [](const BenchResult& r) { return r.backward.dense.value_or(0); }},
};

}  // namespace

std::string bench_plot(const std::vector<BenchResult>& results) {
  std::vector<double> densities, times;
  for (const BenchResult& r : results) {
    densities.push_back(r.density);
    for (const Series& series : kSeries) {
      if (series.seconds(r) > 0) times.push_back(series.seconds(r));
    }
  }
  HEDDLE_CHECK(!times.empty(), "bench: found no result to plot; expected 1 or more");
  const Axis x(densities, 90, 610), y(times, 340, 40);
  std::string text =
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 820 400\" "
      "font-family=\"sans-serif\" "
      "font-size=\"12\">\n<rect width=\"820\" height=\"400\" fill=\"white\"/>\n";
  text += label(350, 24, "middle", "Attention: time against the density of the mask") + grid(x, y);
  text += label(350, 385, "middle", "visible pairs");
  double legend = 60;
  for (const Series& series : kSeries) {
    const std::string style = str("r=\"4\" stroke=\"", series.color, "\" fill=\"",
                                  series.hollow ? "none" : series.color, "\"");
    text += str("<circle cx=\"640\" cy=\"", fixed(legend - 4, 1), "\" ", style, "/>\n");
    text += label(652, legend, "start", series.name);
    legend += 20;
    for (const BenchResult& r : results) {
      if (series.seconds(r) <= 0) continue;
      text +=
          str("<circle cx=\"", fixed(x.at(r.density), 1), "\" cy=\"",
              fixed(y.at(series.seconds(r)), 1), "\" ", style, "><title>", r.mask, " T=", r.length,
              " E=", r.head_dim, ": ", seconds_text(series.seconds(r)), "</title></circle>\n");
    }
  }
  return text + "</svg>\n";
}

}  // namespace heddle::cli
