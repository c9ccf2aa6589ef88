#include "cli/distil_report.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <optional>

#include "cli/format.h"
#include "heddle/base/error.h"
#include "heddle/io/atomic_file.h"
#include "heddle/io/json.h"
#include "heddle/io/paths.h"
#include "heddle/io/source.h"
#include "heddle/picture/chart.h"
#include "heddle/picture/svg.h"
#include "heddle/text/line_reader.h"

namespace heddle::cli {

namespace {

constexpr uint64_t kLongestFile = uint64_t{1} << 20;  // bytes
constexpr size_t kExamples = 5;

std::string fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

/// "+1.2", "−0.3".
std::string difference(double value) {
  return value < 0 ? "−" + fixed(-value, 1) : "+" + fixed(value, 1);
}

/// What evaluations found of one model.
struct Judged {
  const DistilModel* model;
  std::map<std::string, double> bleu{}, chrf{};  // by set
  double parameters = 0, bytes = 0, speed = 0;
  int64_t threads = 0, beam = 1;
  double seconds = 0;  // of training
};

class Report {
 public:
  explicit Report(const DistilPlan& plan) : plan_(plan) {
    for (const DistilModel& model : plan.models) judged_.push_back(read(model));
  }

  std::string text() const {
    return str("# Distillation\n\n", models_table(), "\n", notes(), selection(), pictures(),
               recipe(), examples());
  }
  std::string picture() const;
  std::vector<std::string> runs() const;

 private:
  Judged read(const DistilModel& model) const;
  const Judged* find(const std::string& student, Strategy strategy, bool int8) const;
  double first_bleu(const Judged& judged) const { return judged.bleu.at(plan_.sets.front().name); }
  double best_teacher() const;
  std::string models_table() const;
  std::string notes() const;
  std::string selection() const;
  std::string pictures() const;
  std::string recipe() const;
  std::string examples() const;

  const DistilPlan& plan_;
  std::vector<Judged> judged_;
};

Judged Report::read(const DistilModel& model) const {
  const std::string path = plan_.evaluation_of(model);
  const io::Value value = io::parse_json(io::read_text(path, kLongestFile), path);
  const io::Field fields(value, path);
  Judged judged{.model = &model};
  for (const DistilSet& set : plan_.sets) {
    const io::Field scores = fields["sets"][set.name];
    judged.bleu[set.name] = scores["bleu"].number();
    judged.chrf[set.name] = scores["chrf"].number();
  }
  judged.parameters = fields["parameters"].number();
  judged.bytes = fields["bytes"].number();
  judged.speed = fields["speed"]["words_per_second"].number();
  judged.threads = fields["speed"]["threads"].integer(0, 1 << 20);
  judged.beam = fields["beam"].integer(1, 1000);
  if (!model.training.empty()) judged.seconds = seconds_of_stage(plan_.folder, model.training);
  return judged;
}

const Judged* Report::find(const std::string& student, Strategy strategy, bool int8) const {
  for (const Judged& each : judged_) {
    const DistilModel& model = *each.model;
    if (model.student == student && model.strategy == strategy && model.int8 == int8) return &each;
  }
  return nullptr;
}

double Report::best_teacher() const {
  double best = 0;
  for (const Judged& each : judged_) {
    if (each.model->student.empty()) best = std::max(best, first_bleu(each));
  }
  return best;
}

std::string Report::models_table() const {
  std::string head = "| model | parameters | MB | words/s | beam | training |",
              line = "|---|---|---|---|---|---|";
  for (const DistilSet& set : plan_.sets) {
    head += str(" ", set.name, " BLEU | chrF |");
    line += "---|---|";
  }
  std::string table = head + "\n" + line + "\n";
  for (const Judged& each : judged_) {
    const std::string where =
        each.model->on_gpu ? " (GPU)"
                           : str(" (", each.threads, each.threads == 1 ? " core)" : " cores)");
    table += str("| ", each.model->name, " | ", fixed(each.parameters / 1e6, 1), "M | ",
                 fixed(each.bytes / 1e6, 1), " | ",
                 with_separators(static_cast<int64_t>(each.speed)), where, " | ", each.beam, " | ",
                 each.seconds > 0 ? seconds_text(each.seconds) : "–", " |");
    for (const DistilSet& set : plan_.sets) {
      table +=
          str(" ", fixed(each.bleu.at(set.name), 1), " | ", fixed(each.chrf.at(set.name), 1), " |");
    }
    table += "\n";
  }
  return table;
}

/// What each student won and lost, on the first set.
std::string Report::notes() const {
  std::string text = str("BLEU on ", plan_.sets.front().name, ":\n\n");
  for (const Judged& each : judged_) {
    const DistilModel& model = *each.model;
    if (model.student.empty() || model.strategy == Strategy::original) continue;
    text += str("- ", model.name, ": ", difference(first_bleu(each) - best_teacher()),
                " against the best teacher");
    if (const Judged* plain = find(model.student, Strategy::original, false);
        plain && !model.int8) {
      text += str(", ", difference(first_bleu(each) - first_bleu(*plain)),
                  " against itself without distillation");
    }
    if (const Judged* full = find(model.student, model.strategy, false); full && model.int8) {
      text += str(", ", difference(first_bleu(each) - first_bleu(*full)), " against itself in f32");
    }
    text += "\n";
  }
  return text;
}

std::string Report::selection() const {
  if (!io::exists(plan_.selection)) return "";
  const io::Value value =
      io::parse_json(io::read_text(plan_.selection, kLongestFile), plan_.selection);
  const io::Field counts(value, plan_.selection);
  const auto number = [&](const char* key) {
    return with_separators(counts[key].integer(0, INT64_MAX));
  };
  return str("\n## Distilled text\n\n", number("sources"), " sources; ", number("kept"),
             " kept. Left out: ", number("improbable"), " that the teachers doubt most, ",
             number("bad_length"), " of a bad length, ", number("empty"),
             " empty. Mean ln p a token ", fixed(counts["mean_score"].number(), 3),
             "; BLEU against the corpus ", fixed(counts["bleu"].number(), 1), ".\n");
}

std::string Report::pictures() const {
  return str("\n![Quality and speed](quality_speed.svg)\n",
             runs().empty() ? "" : "\n![Curves of the trainings](curves.svg)\n");
}

std::string Report::recipe() const {
  return str("\n## Recipe\n\n```json\n", io::to_json(plan_.config, 2),
             "\n```\n\nThe commands:\n\n```\n", stages_text(plan_.stages, plan_.folder), "```\n");
}

/// The first lines as the best student says them.
std::string Report::examples() const {
  const Judged* best = nullptr;
  for (const Judged& each : judged_) {
    if (each.model->student.empty()) continue;
    if (best == nullptr || first_bleu(each) > first_bleu(*best)) best = &each;
  }
  if (best == nullptr) return "";
  const DistilSet& set = plan_.sets.front();
  const std::string hypotheses =
      io::join_path(plan_.folder, str("evaluation/", best->model->name, ".", set.name, ".txt"));
  std::string text =
      str("\n## Examples\n\n| source | ", best->model->name, " | reference |\n|---|---|---|\n");
  text::LineReader readers[] = {{text::read_from_file(set.sources), set.sources},
                                {text::read_from_file(hypotheses), hypotheses},
                                {text::read_from_file(set.references), set.references}};
  for (size_t i = 0; i < kExamples; ++i) {
    std::string row = "|", cell;
    for (text::LineReader& reader : readers) {
      if (!reader.next(cell)) return text;
      for (size_t at = 0; (at = cell.find('|', at)) != cell.npos; at += 2) cell.insert(at, "\\");
      row += " " + cell + " |";
    }
    text += row + "\n";
  }
  return text;
}

/// Dots of a colour for each strategy, one for each student; int8 models apart, as the CPU runs
/// them.
std::string Report::picture() const {
  const std::string kinds[] = {"teacher", name_of(Strategy::original), name_of(Strategy::sequence),
                               name_of(Strategy::word)};
  std::vector<picture::Panel> panels;
  for (const bool int8 : {false, true}) {
    picture::Panel panel{.title = int8 ? "int8 on the CPU" : "as trained",
                         .x_name = "words/s",
                         .curves = {},
                         .log_x = true};
    size_t points = 0;
    for (const std::string& kind : kinds) {
      picture::Curve curve{.name = kind, .points = {}};
      for (const Judged& each : judged_) {
        const bool teacher = each.model->student.empty();
        if (each.model->int8 != int8 ||
            kind != (teacher ? kinds[0] : name_of(each.model->strategy))) {
          continue;
        }
        curve.points.push_back({each.speed, first_bleu(each)});
        curve.labels.push_back(teacher ? each.model->name : each.model->student);
        ++points;
      }
      panel.curves.push_back(std::move(curve));
    }
    if (points > 0) panels.push_back(std::move(panel));
  }
  picture::SvgCanvas canvas;
  picture::draw_charts(panels, str("BLEU on ", plan_.sets.front().name, " and words/s"), canvas);
  return canvas.document();
}

/// Folders of trainings that have a log.
std::vector<std::string> Report::runs() const {
  std::vector<std::string> runs;
  for (const DistilModel& model : plan_.models) {
    if (!model.training.empty() && !model.int8) runs.push_back(model.folder);
  }
  return runs;
}

}  // namespace

void write_report(const DistilPlan& plan, const RunCommand& run) {
  const Report report(plan);
  io::write_file(io::join_path(plan.folder, "quality_speed.svg"), report.picture());
  const std::vector<std::string> runs = report.runs();
  if (!runs.empty()) {
    std::vector<std::string> command{"plot", runs.front(), "--output",
                                     io::join_path(plan.folder, "curves.svg")};
    for (size_t i = 1; i < runs.size(); ++i) command.insert(command.end(), {"--run", runs[i]});
    run(command);
  }
  io::write_file(io::join_path(plan.folder, "report.md"), report.text());
}

}  // namespace heddle::cli
