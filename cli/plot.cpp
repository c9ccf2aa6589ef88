// `heddle plot`: the curves of training runs.
#include <algorithm>
#include <memory>

#include "cli/commands.h"
#include "heddle/base/error.h"
#include "heddle/io/atomic_file.h"
#include "heddle/io/json.h"
#include "heddle/io/paths.h"
#include "heddle/io/source.h"
#include "heddle/picture/chart.h"
#include "heddle/picture/raster.h"
#include "heddle/picture/svg.h"
#include "heddle/train/run_log.h"

namespace heddle::cli {

namespace {

constexpr uint64_t kLongestLog = uint64_t{1} << 30;  // bytes

struct Options {
  std::vector<std::string> runs, values;
  std::string first, output = "curves.svg", x = "step", title;
  int64_t smooth = 1;
};

struct Run {
  std::string name;
  std::vector<io::Value> records;
};

/// What a run measured, given by its folder or its log. A last line cut short is left out.
Run read_run(const std::string& path) {
  const std::string file = io::is_directory(path) ? io::join_path(path, "log.jsonl") : path;
  HEDDLE_CHECK(io::exists(file), "plot: found no ", file, "; expected the folder of a run");
  const std::string text = io::read_text(file, kLongestLog);
  Run run{.name = path, .records = {}};
  while (run.name.size() > 1 && run.name.ends_with('/')) run.name.pop_back();
  int64_t number = 1;
  for (size_t begin = 0; begin < text.size(); ++number) {
    const size_t end = text.find('\n', begin);
    if (end == text.npos) break;
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    io::Value record = io::parse_json(line, str(file, ": line ", number));
    if (train::kind_of(record) != train::LogLine::note) run.records.push_back(std::move(record));
    begin = end + 1;
  }
  HEDDLE_CHECK(!run.records.empty(), "plot: ", file, " has no line yet");
  return run;
}

const io::Value* find(const io::Value& record, const std::string& key) {
  if (const io::Value* found = record.find(key)) return found;
  const io::Value* metrics = record.find("metrics");
  return metrics != nullptr && metrics->map() != nullptr ? metrics->find(key) : nullptr;
}

bool is_number(const io::Value* value) {
  return value != nullptr && (value->number() != nullptr || value->integer() != nullptr);
}

double number_of(const io::Value& value) {
  return value.number() != nullptr ? *value.number() : static_cast<double>(*value.integer());
}

/// The mean of each point and the `count` − 1 before it.
void smooth(std::vector<picture::Point>& points, int64_t count) {
  std::vector<picture::Point> plain = points;
  for (size_t i = 0; i < points.size(); ++i) {
    const size_t first =
        i + 1 >= static_cast<size_t>(count) ? i + 1 - static_cast<size_t>(count) : 0;
    double sum = 0;
    for (size_t j = first; j <= i; ++j) sum += plain[j].y;
    points[i].y = sum / static_cast<double>(i + 1 - first);
  }
}

picture::Curve curve_of(const Run& run, const std::string& key, const Options& options) {
  picture::Curve curve{.name = run.name, .points = {}};
  double tokens = 0;  // validations have no count of their own
  for (const io::Value& record : run.records) {
    if (is_number(record.find("num_tokens"))) tokens = number_of(*record.find("num_tokens"));
    const io::Value *y = find(record, key), *step = record.find("step");
    if (!is_number(y) || !is_number(step)) continue;
    curve.points.push_back({options.x == "tokens" ? tokens : number_of(*step), number_of(*y)});
  }
  smooth(curve.points, options.smooth);
  return curve;
}

/// Those of the usual values that some run has.
std::vector<std::string> values_of(const std::vector<Run>& runs) {
  std::vector<std::string> values;
  for (const char* key : {"loss", "eval_loss", "eval_bleu", "eval_chrf", "grad_norm",
                          "learning_rate", "mean_token_accuracy", "tokens_per_second"}) {
    const bool found = std::any_of(runs.begin(), runs.end(), [&](const Run& run) {
      return std::any_of(run.records.begin(), run.records.end(),
                         [&](const io::Value& record) { return is_number(find(record, key)); });
    });
    if (found) values.emplace_back(key);
  }
  return values;
}

void plot(const Options& options) {
  HEDDLE_CHECK(options.x == "step" || options.x == "tokens", "--x: found '", options.x,
               "'; expected step or tokens");
  HEDDLE_CHECK(options.smooth >= 1, "--smooth: found ", options.smooth, "; expected 1 or more");
  std::vector<Run> runs{read_run(options.first)};
  for (const std::string& path : options.runs) runs.push_back(read_run(path));
  const std::vector<std::string> keys = options.values.empty() ? values_of(runs) : options.values;
  std::vector<picture::Panel> panels;
  for (const std::string& key : keys) {
    picture::Panel panel{.title = key, .x_name = options.x, .curves = {}};
    size_t points = 0;
    for (const Run& run : runs) {
      panel.curves.push_back(curve_of(run, key, options));
      points += panel.curves.back().points.size();
    }
    HEDDLE_CHECK(points > 0, "plot: found no '", key, "' in the log; expected one of its names");
    panels.push_back(std::move(panel));
  }
  HEDDLE_CHECK(!panels.empty(), "plot: found no value to draw");
  std::string file;
  if (options.output.ends_with(".svg")) {
    picture::SvgCanvas canvas;
    picture::draw_charts(panels, options.title, canvas);
    file = canvas.document();
  } else {
    HEDDLE_CHECK(options.output.ends_with(".png"), "--output: found '", options.output,
                 "'; expected a name that ends in .svg or .png");
    picture::RasterCanvas canvas;
    picture::draw_charts(panels, options.title, canvas);
    file = picture::encode_png(canvas.raster());
  }
  io::write_file(options.output, file);
}

}  // namespace

void add_plot_command(const Command& parent) {
  const Command command = parent.add_command("plot", "Draw the curves of training runs");
  const auto options = std::make_shared<Options>();
  command.positional("run", options->first, "Folder of a run, or its log.jsonl");
  command.option("--run", options->runs, "Another one, in the same picture", "PATH");
  command.option("--value", options->values,
                 "What to draw, a panel each (all usual ones): loss, eval_bleu, …", "NAME");
  command.option("--x", options->x, "step or tokens", "NAME");
  command.option("--smooth", options->smooth, "Mean over so many points");
  command.option("--title", options->title, "Above the picture");
  command.option("--output", options->output, ".svg or .png", "FILE");
  command.footer(
      "Examples:\n"
      "  heddle plot run --output curves.svg\n"
      "  heddle plot run --run other --value eval_bleu --x tokens --output bleu.png");
  command.run([options] { plot(*options); });
}

}  // namespace heddle::cli
