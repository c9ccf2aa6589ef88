// Text from prompts: greedy is what a forward says, and nothing depends on the company.
#include "heddle/decode/generator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>

#include "heddle/base/error.h"
#include "heddle/decode/stop_text.h"
#include "tests/decode/small_language_model.h"

namespace heddle::decode {
namespace {

using model::Transformer;

Transformer small_model(const std::string& name,
                        model::Precision precision = model::Precision::f32) {
  return Transformer(model::load_model(model::language_folder(name)), precision);
}

const std::vector<std::vector<int32_t>> kPrompts{
    {1, 9, 12, 31, 8},
    {7},
    {1, 30, 22, 17, 5, 41, 40, 33, 12, 12, 12, 9, 8, 6},
    {1, 5},
    {11, 3, 47}};

std::vector<GenerationRequest> requests_of(const GenerationOptions& options) {
  std::vector<GenerationRequest> requests;
  for (size_t i = 0; i < kPrompts.size(); ++i) requests.push_back({kPrompts[i], options, i});
  return requests;
}

TEST(Generator, GreedyIsTheForwardsArgmax) {
  const text::BpeTokenizer tokenizer = test::small_tokenizer();
  for (const std::string& name : model::language_names()) {
    SCOPED_TRACE(name);
    const Transformer model = small_model(name);
    Generator generator(model, tokenizer, {.rows = 3, .tokens = 96, .prefill_tokens = 6});
    const auto requests = requests_of({.max_new_tokens = 12});
    const std::vector<Generated> found = generator.generate(requests);
    for (size_t i = 0; i < found.size(); ++i) {
      std::vector<int32_t> text = kPrompts[i];
      text.insert(text.end(), found[i].tokens.begin(), found[i].tokens.end());
      const std::vector<int32_t> offsets{0, static_cast<int32_t>(text.size())};
      const std::vector<float> logits =
          model::forward_logits(model, {.targets = text, .target_offsets = offsets});
      const int64_t width = model.config().target_vocabulary;
      for (size_t at = kPrompts[i].size(); at <= text.size(); ++at) {
        const auto row = logits.begin() + static_cast<int64_t>(at - 1) * width;
        const auto best = static_cast<int32_t>(std::max_element(row, row + width) - row);
        if (at < text.size()) {
          EXPECT_EQ(text[at], best) << "prompt " << i << " token " << at;
        } else {
          const bool ends =
              std::binary_search(generator.ends().begin(), generator.ends().end(), best);
          const bool full = found[i].tokens.size() == 12;
          EXPECT_TRUE(full || ends);
          EXPECT_EQ(found[i].finish, full ? Finish::length : Finish::end_token);
        }
      }
      EXPECT_EQ(found[i].text, tokenizer.decode(found[i].tokens));
      EXPECT_EQ(found[i].prompt_tokens, std::ssize(kPrompts[i]));
    }
  }
}

TEST(Generator, CompanyChangesNoBit) {
  const text::BpeTokenizer tokenizer = test::small_tokenizer();
  const Transformer model = small_model("gemma3", model::Precision::bf16);
  std::vector<GenerationRequest> requests = requests_of(
      {.max_new_tokens = 20,
       .sampling = {.enabled = true, .temperature = 1.5, .top_k = 7, .top_p = 0.9, .seed = 3},
       .log_probabilities = true});
  requests[1].options.sampling = {.enabled = true, .seed = 4, .min_p = 0.01};  // of all logits
  requests[2].options.sampling = {};                                           // greedy
  requests[3].options.repetition = {.penalty = 1.3, .no_repeat_ngram = 2};
  Generator alone(model, tokenizer, {.rows = 1, .tokens = 64});
  std::vector<Generated> expected;
  for (const GenerationRequest& request : requests) {
    expected.push_back(alone.generate({&request, 1})[0]);
  }
  for (const int rows : {2, 3, 5}) {
    Generator generator(model, tokenizer, {.rows = rows, .tokens = 300, .prefill_tokens = 4});
    std::vector<size_t> order{4, 1, 0, 3, 2};
    if (rows == 3) std::reverse(order.begin(), order.end());
    std::vector<GenerationRequest> shuffled;
    for (const size_t i : order) shuffled.push_back(requests[i]);
    const std::vector<Generated> found = generator.generate(shuffled);
    for (size_t n = 0; n < order.size(); ++n) {
      const Generated &a = found[n], &b = expected[order[n]];
      EXPECT_EQ(a.tokens, b.tokens) << "rows " << rows << " request " << order[n];
      ASSERT_EQ(a.log_probabilities.size(), b.log_probabilities.size());
      for (size_t t = 0; t < a.log_probabilities.size(); ++t) {
        EXPECT_EQ(std::bit_cast<uint32_t>(a.log_probabilities[t]),
                  std::bit_cast<uint32_t>(b.log_probabilities[t]));
      }
    }
  }
}

TEST(Generator, ThreadsChangeNoBit) {
  const text::BpeTokenizer tokenizer = test::small_tokenizer();
  const model::ModelFiles files = test::wide_language_model();
  for (const auto precision :
       {model::Precision::f32, model::Precision::bf16, model::Precision::int8}) {
    const Transformer model(files, precision);
    std::vector<std::vector<Generated>> found;
    for (const int threads : {1, 2, 3}) {
      Generator generator(model, tokenizer, {.rows = 5, .tokens = 300, .threads = threads});
      found.push_back(generator.generate(
          requests_of({.max_new_tokens = 6, .min_new_tokens = 6, .log_probabilities = true})));
    }
    for (size_t i = 0; i < kPrompts.size(); ++i) {
      for (const size_t t : {1, 2}) {
        EXPECT_EQ(found[0][i].tokens, found[t][i].tokens);
        EXPECT_EQ(found[0][i].log_probabilities, found[t][i].log_probabilities);
      }
    }
  }
}

TEST(Generator, SeedsRepeatAndDiffer) {
  const text::BpeTokenizer tokenizer = test::small_tokenizer();
  const Transformer model = small_model("qwen3");
  Generator generator(model, tokenizer, {.rows = 5, .tokens = 300});
  const auto draw = [&](uint64_t seed) {
    std::vector<std::vector<int32_t>> tokens;
    const auto requests = requests_of(
        {.max_new_tokens = 16, .sampling = {.enabled = true, .temperature = 2, .seed = seed}});
    for (const Generated& each : generator.generate(requests)) tokens.push_back(each.tokens);
    return tokens;
  };
  EXPECT_EQ(draw(1), draw(1));
  EXPECT_NE(draw(1), draw(2));
}

TEST(Generator, LengthsAndEnds) {
  const text::BpeTokenizer tokenizer = test::small_tokenizer();
  const Transformer model = small_model("gemma3_even");
  const GenerationRequest request{kPrompts[0], {.max_new_tokens = 10}, 0};
  Generator plain(model, tokenizer, {.rows = 1, .tokens = 64});
  const Generated free = plain.generate({&request, 1})[0];
  ASSERT_GE(free.tokens.size(), 4u);
  // The third token ends from now on, unless so many are wanted.
  const int32_t end = free.tokens[2];
  Generator ended(model, tokenizer, {.rows = 1, .tokens = 64, .ends = {end}});
  const Generated cut = ended.generate({&request, 1})[0];
  EXPECT_EQ(cut.finish, Finish::end_token);
  EXPECT_LE(cut.tokens.size(), 2u);
  GenerationRequest longer = request;
  longer.options.min_new_tokens = 8;
  const Generated late = ended.generate({&longer, 1})[0];
  EXPECT_GE(late.tokens.size(), 8u);
  EXPECT_EQ(std::count(late.tokens.begin(), late.tokens.begin() + 8, end), 0);
  GenerationRequest most = request;
  most.options.max_new_tokens = 1000;
  EXPECT_LE(std::ssize(plain.generate({&most, 1})[0].tokens), 64 - 5);
}

TEST(Generator, NoNgramTwice) {
  const text::BpeTokenizer tokenizer = test::small_tokenizer();
  const Transformer model = small_model("mistral");
  Generator generator(model, tokenizer, {.rows = 5, .tokens = 320});
  for (size_t i = 0;
       const Generated& each : generator.generate(requests_of(
           {.max_new_tokens = 40, .min_new_tokens = 40, .repetition = {.no_repeat_ngram = 2}}))) {
    std::vector<int32_t> text = kPrompts[i++];
    const size_t first = text.size();
    text.insert(text.end(), each.tokens.begin(), each.tokens.end());
    for (size_t a = first; a < text.size(); ++a) {
      for (size_t b = 1; b < a; ++b) {
        EXPECT_FALSE(text[a] == text[b] && text[a - 1] == text[b - 1]);
      }
    }
  }
}

TEST(Generator, StopsInsideAndAcrossTokens) {
  const text::BpeTokenizer tokenizer = test::small_tokenizer();
  const Transformer model = small_model("gemma3_even");
  Generator generator(model, tokenizer, {.rows = 1, .tokens = 64});
  GenerationRequest request{kPrompts[0], {.max_new_tokens = 16}, 0};
  const std::string whole = generator.generate({&request, 1})[0].text;
  ASSERT_GE(whole.size(), 6u);
  for (size_t at = 0; at + 3 <= whole.size(); ++at) {
    const std::string stop = whole.substr(at, 3);
    request.options.stop = {"no such text", stop};
    std::string streamed;
    const Generated found = generator.generate({&request, 1}, [&](const GeneratedPart& part) {
      streamed += part.text;
      return true;
    })[0];
    EXPECT_EQ(found.finish, Finish::stop_text);
    EXPECT_EQ(found.text, whole.substr(0, whole.find(stop)));
    EXPECT_EQ(streamed, found.text);
  }
}

TEST(Generator, CallersCanEndIt) {
  const text::BpeTokenizer tokenizer = test::small_tokenizer();
  const Transformer model = small_model("llama");
  Generator generator(model, tokenizer, {.rows = 5, .tokens = 300});
  const auto found =
      generator.generate(requests_of({.max_new_tokens = 9, .min_new_tokens = 9}),
                         [](const GeneratedPart& part) { return part.request != 2; });
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].tokens.size(), i == 2 ? 1u : 9u);
    EXPECT_EQ(found[i].finish, i == 2 ? Finish::cancelled : Finish::length);
  }
}

TEST(Generator, ConversationsReadOn) {
  const text::BpeTokenizer tokenizer = test::small_tokenizer();
  const Transformer model = small_model("gemma3");
  Generator generator(model, tokenizer, {.rows = 2, .tokens = 128});
  Conversation conversation(generator, 64);
  std::vector<int32_t> all;
  for (const std::vector<int32_t>& more : {kPrompts[0], kPrompts[4], kPrompts[1]}) {
    const GenerationOptions options{.max_new_tokens = 7};
    const int64_t before = generator.statistics().prompt_tokens;
    const Generated turn = conversation.reply(more, options);
    // One token at most is read again: the last one that was written.
    EXPECT_LE(generator.statistics().prompt_tokens - before, std::ssize(more) + 1);
    all.insert(all.end(), more.begin(), more.end());
    const GenerationRequest anew{all, options, 0};
    EXPECT_EQ(generator.generate({&anew, 1})[0].tokens, turn.tokens);
    all.insert(all.end(), turn.tokens.begin(), turn.tokens.end());
    EXPECT_EQ(conversation.length(), std::ssize(all));
  }
  EXPECT_THROW(conversation.reply(std::vector<int32_t>(64, 9), {}), Error);
  EXPECT_EQ(conversation.length(), std::ssize(all));
}

TEST(Generator, RefusesWithAReason) {
  const text::BpeTokenizer tokenizer = test::small_tokenizer();
  const Transformer model = small_model("llama");  // 64 positions
  Generator generator(model, tokenizer, {.rows = 2, .tokens = 128});
  const auto refused = [&](const GenerationRequest& request, const std::string& part) {
    try {
      generator.generate({&request, 1});
      FAIL() << part;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  };
  refused({std::vector<int32_t>(64, 9), {}, 0}, "max_position_embeddings");
  refused({{}, {}, 0}, "empty prompt");
  refused({{9, 48}, {}, 0}, "found token 48");
  refused({{9}, {.max_new_tokens = 0}, 0}, "max_new_tokens is 0");
  refused({{9}, {.min_new_tokens = 300}, 0}, "min_new_tokens is 300");
  refused({{9}, {.sampling = {.temperature = 0}}, 0}, "temperature is 0");
  refused({{9}, {.sampling = {.min_p = 1.5}}, 0}, "min_p is 1.5");
}

TEST(StopText, HoldsBackWhatMayBeABeginning) {
  StopText stops({"</end>", "###", ""});
  EXPECT_EQ(stops.push("one <"), "one ");
  EXPECT_EQ(stops.push("/en"), "");
  EXPECT_EQ(stops.push("t> ##"), "</ent> ");
  EXPECT_EQ(stops.push("# more"), "");
  EXPECT_TRUE(stops.found());
  EXPECT_EQ(stops.push("x"), "");
  EXPECT_EQ(stops.finish(), "");
  StopText open({"###"});
  EXPECT_EQ(open.push("a##"), "a");
  EXPECT_EQ(open.finish(), "##");
  StopText first({"late", "b"});
  EXPECT_EQ(first.push("ab late"), "a");
}

}  // namespace
}  // namespace heddle::decode
