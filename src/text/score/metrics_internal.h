// The metrics that make_metric() chooses from.
#pragma once

#include <memory>

#include "heddle/text/score/metric.h"

namespace heddle::text::score {

std::unique_ptr<Metric> make_bleu(const MetricOptions& options);
std::unique_ptr<Metric> make_chrf(const MetricOptions& options, int word_order);
std::unique_ptr<Metric> make_ter();

}  // namespace heddle::text::score
