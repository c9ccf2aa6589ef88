// Real models with random weights under the scheduler: company, order and beams change no bit, and
// the fused choice equals the plain one.
#include <gtest/gtest.h>

#include <cmath>

#include "heddle/decode/choose.h"
#include "heddle/decode/ensemble.h"
#include "heddle/decode/model_engine.h"
#include "heddle/decode/scheduler.h"
#include "tests/decode/fake_engine.h"
#include "tests/model/random_model.h"

namespace heddle::decode {
namespace {

model::TransformerConfig small_config(model::DecoderKind kind) {
  model::TransformerConfig config;
  config.width = 16;
  config.source_vocabulary = config.target_vocabulary = 40;
  config.encoder = {.layers = 2, .heads = 2, .ffn_width = 32};
  config.decoder = {.layers = 2, .heads = 2, .ffn_width = 32};
  config.decoder_kind = kind;
  config.positions = model::Positions::sinusoidal_marian;
  config.scale_embedding = true;
  config.eos = 0;
  config.unk = 1;
  return config;
}

std::vector<Request> requests_of(const Options& options, int count) {
  Random random(21);
  std::vector<Request> requests;
  for (int i = 0; i < count; ++i) {
    Request request;
    request.id = request.random_key = static_cast<uint64_t>(i);
    for (int64_t n = random.between(0, 9); n > 0; --n) {
      request.source.push_back(static_cast<int32_t>(random.between(1, 39)));
    }
    request.source.push_back(0);
    request.options = std::make_shared<const Options>(options);
    requests.push_back(std::move(request));
  }
  return requests;
}

/// Results of all requests, in their order.
std::vector<Result> run(Engine& engine, std::vector<Request> requests,
                        const AdmissionPolicy& admission, const Shortlist* shortlist = nullptr) {
  Scheduler scheduler(engine, {.admission = admission, .shortlist = shortlist});
  const size_t count = requests.size();
  for (Request& request : requests) scheduler.submit(std::move(request));
  std::vector<Result> results, sorted(count);
  while (!scheduler.idle()) scheduler.step(results);
  for (Result& result : results) sorted[result.id] = std::move(result);
  return sorted;
}

void expect_same(const std::vector<Result>& a, const std::vector<Result>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i].hypotheses.size(), b[i].hypotheses.size());
    for (size_t n = 0; n < a[i].hypotheses.size(); ++n) {
      EXPECT_EQ(a[i].hypotheses[n].tokens, b[i].hypotheses[n].tokens);
      EXPECT_EQ(a[i].hypotheses[n].score, b[i].hypotheses[n].score);
      EXPECT_EQ(a[i].hypotheses[n].token_scores, b[i].hypotheses[n].token_scores);
      EXPECT_EQ(a[i].hypotheses[n].alignment, b[i].hypotheses[n].alignment);
    }
  }
}

std::vector<Options> kinds_of_search() {
  std::vector<Options> kinds(4);
  kinds[1].scores = kinds[1].alignments = true;
  kinds[2].beam = 3;
  kinds[2].n_best = 3;
  kinds[2].scores = kinds[2].alignments = true;
  kinds[3].sampling = {.enabled = true, .temperature = 0.8, .top_k = 6};
  kinds[3].scores = true;
  return kinds;
}

TEST(ModelEngine, CompanyAndOrderChangeNoBit) {
  for (const auto kind : {model::DecoderKind::ssru, model::DecoderKind::self_attention}) {
    for (const auto precision : {model::Precision::f32, model::Precision::int8}) {
      const model::Transformer transformer(model::random_model(small_config(kind)), precision);
      for (const Options& options : kinds_of_search()) {
        ModelEngine engine(transformer, {.rows = 16, .source_tokens = 300});
        const auto requests = requests_of(options, 24);
        std::vector<Result> alone;
        for (Request request : requests) {
          request.id = 0;
          alone.push_back(run(engine, {request}, {})[0]);
        }
        expect_same(run(engine, requests, {.encode_tokens = 1000, .refill_rows = 1}), alone);
        expect_same(run(engine, requests, {.encode_tokens = 20, .refill_rows = 7}), alone);
        std::vector<Request> reversed(requests.rbegin(), requests.rend());
        expect_same(run(engine, reversed, {.encode_tokens = 64, .refill_rows = 3}), alone);
      }
    }
  }
}

TEST(ModelEngine, FusedChoiceEqualsPlainChoice) {
  const model::Transformer transformer(model::random_model(small_config(model::DecoderKind::ssru)),
                                       model::Precision::int8);
  ModelEngine fused(transformer, {}), plain(transformer, {.fused = false});
  expect_same(run(fused, requests_of({}, 30), {}), run(plain, requests_of({}, 30), {}));
}

TEST(ModelEngine, TopEqualsSortedLogits) {
  const model::Transformer transformer(
      model::random_model(small_config(model::DecoderKind::self_attention)));
  const std::vector<int32_t> source{4, 9, 3, 0}, offsets{0, 4}, previous{-1};
  const std::vector<int32_t> candidates{0, 2, 5, 7, 11, 30}, banned{5, 6};
  const std::vector<Tokens> candidate_lists{candidates}, banned_lists{banned};
  ModelEngine engine(transformer, {});
  for (const bool restricted : {false, true}) {
    std::vector<float> logits(40);
    std::vector<Choice> top(8), expected(8);
    for (const bool plain : {false, true}) {
      const std::vector<int> slots{engine.admit(4, 10).value()};
      engine.encode(source, offsets, slots);
      Step step{.slots = slots, .previous = previous};
      if (restricted) {
        step.candidates = candidate_lists;
        step.banned = banned_lists;
      }
      if (plain) {
        engine.logits(step, logits);
      } else {
        engine.top(step, 8, top);
      }
      engine.release(slots[0]);
    }
    log_softmax(logits);
    best_of(logits, expected);
    EXPECT_EQ(expected[5].token < 0, restricted);  // five candidates are left
    for (size_t i = 0; i < top.size(); ++i) {
      EXPECT_EQ(top[i].token, expected[i].token);
      if (top[i].token >= 0) {
        EXPECT_NEAR(top[i].log_probability, expected[i].log_probability, 1e-4);
      }
      EXPECT_NE(top[i].token, 1) << "the unknown token";
    }
  }
}

TEST(ModelEngine, AlignmentsAreProbabilities) {
  const model::Transformer transformer(model::random_model(small_config(model::DecoderKind::ssru)));
  ModelEngine engine(transformer, {});
  Options options;
  options.alignments = true;
  const std::vector<Request> requests = requests_of(options, 12);
  const std::vector<Result> results = run(engine, requests, {});
  for (size_t i = 0; i < results.size(); ++i) {
    const Hypothesis& hypothesis = results[i].hypotheses[0];
    const size_t sources = requests[i].source.size();
    const size_t targets = hypothesis.tokens.size() + (hypothesis.ended ? 1 : 0);
    ASSERT_EQ(hypothesis.alignment.size(), targets * sources);
    for (size_t row = 0; row < targets; ++row) {
      double sum = 0;
      for (size_t s = 0; s < sources; ++s) sum += hypothesis.alignment[row * sources + s];
      EXPECT_NEAR(sum, 1, 1e-4);
    }
  }
}

std::unique_ptr<Engine> ensemble_of(const std::vector<const model::Transformer*>& models) {
  std::vector<std::unique_ptr<Engine>> members;
  for (const model::Transformer* each : models) {
    members.push_back(std::make_unique<ModelEngine>(*each, EngineSettings{.rows = 16}));
  }
  return std::make_unique<Ensemble>(std::move(members));
}

TEST(Ensemble, OfOneModelTwiceIsThatModel) {
  const model::Transformer transformer(model::random_model(small_config(model::DecoderKind::ssru)),
                                       model::Precision::f32);
  for (const int beam : {1, 3}) {
    Options options;
    options.beam = beam;
    options.scores = true;
    ModelEngine single(transformer, {.rows = 16});
    const auto one = run(single, requests_of(options, 20), {});
    const auto both = run(*ensemble_of({&transformer, &transformer}), requests_of(options, 20), {});
    for (size_t i = 0; i < one.size(); ++i) {
      EXPECT_EQ(one[i].hypotheses[0].tokens, both[i].hypotheses[0].tokens);
      EXPECT_NEAR(one[i].hypotheses[0].score, both[i].hypotheses[0].score, 1e-4);
    }
  }
}

TEST(Ensemble, ScoresAreMeansOfLogProbabilities) {
  const model::Transformer ssru(model::random_model(small_config(model::DecoderKind::ssru)),
                                model::Precision::f32);
  const model::Transformer attention(
      model::random_model(small_config(model::DecoderKind::self_attention)), model::Precision::f32);
  const std::vector<int32_t> source{4, 9, 0}, offsets{0, 3}, previous{-1};
  std::vector<float> mean(40), one(40), two(40);
  const auto logits = [&](Engine& engine, std::vector<float>& values) {
    const std::vector<int> slots{engine.admit(3, 5).value()};
    engine.encode(source, offsets, slots);
    engine.logits({.slots = slots, .previous = previous}, values);
    engine.release(slots[0]);
  };
  ModelEngine first(ssru, {}), second(attention, {});
  logits(*ensemble_of({&ssru, &attention}), mean);
  logits(first, one);
  logits(second, two);
  log_softmax(one);
  log_softmax(two);
  for (size_t i = 0; i < mean.size(); ++i) {
    if (std::isfinite(one[i])) {
      EXPECT_NEAR(mean[i], (one[i] + two[i]) / 2, 1e-5);
    }
  }
}

TEST(Ensemble, RefusesOtherVocabularies) {
  model::TransformerConfig config = small_config(model::DecoderKind::ssru);
  const model::Transformer first(model::random_model(config));
  config.source_vocabulary = config.target_vocabulary = 41;
  const model::Transformer second(model::random_model(config));
  EXPECT_THROW(ensemble_of({&first, &second}), Error);
}

}  // namespace
}  // namespace heddle::decode
