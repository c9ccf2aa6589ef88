#include "cli/mask_builders.h"

#include <algorithm>

#include "cli/format.h"
#include "cli/lists.h"
#include "heddle/base/random.h"
#include "heddle/mask/builders.h"

namespace heddle::cli {

namespace {

using Options = BuilderOptions;
using Notes = std::vector<std::string>;

constexpr int64_t kLength = 4096;  // tokens when nothing says how many

// Options that several builders share.

void add_length(const Command& command, Options& options) {
  command.option("--length", options.length, "tokens (4096)");
}

void add_sides(const Command& command, Options& options) {
  command.option("--query-length", options.query_length, "query rows (as --length)");
  command.option("--key-length", options.key_length, "keys (as --length)");
}

void add_window(const Command& command, Options& options) {
  command.option("--window", options.window, "keys that a row sees, itself included (length / 16)");
}

void add_neighbours(const Command& command, Options& options) {
  command.option("--left", options.left, "earlier neighbours that a row sees (length / 16)");
  command.option("--right", options.right, "later neighbours that a row sees (length / 16)");
}

/// A list of parts under the given name, or else so many parts drawn at random.
void add_parts(const Command& command, Options& options, const std::string& name,
               const std::string& help) {
  command.option(name, options.parts, help, "LIST");
  command.option("--length", options.length, "tokens in all (4096, or what the list adds up to)");
  command.option("--count", options.count, "without a list: how many parts to draw");
  command.option("--seed", options.seed, "without a list: which parts are drawn");
}

void add_documents(const Command& command, Options& options) {
  add_parts(command, options, "--lengths", "lengths of the documents, such as 4,3,3");
}

// Values of the options.

int64_t length_of(const Options& options) { return options.length.value_or(kLength); }
int64_t rows_of(const Options& options) {
  return options.query_length.value_or(length_of(options));
}
int64_t keys_of(const Options& options) { return options.key_length.value_or(length_of(options)); }

/// A part of the length as a default: at least 1.
int64_t part_of(const Options& options, int64_t divisor) {
  return std::max<int64_t>(length_of(options) / divisor, 1);
}

std::vector<int64_t> drawn(const Options& options, std::string_view what, Notes& notes) {
  const int64_t length = length_of(options);
  HEDDLE_CHECK(length >= 1 && length <= kMaxMaskLength, "--length: found ", length,
               "; expected 1 … ", kMaxMaskLength);
  auto lengths = random_lengths(length, options.count, static_cast<uint64_t>(options.seed));
  notes.push_back(str(with_separators(options.count), " ", what, " drawn with --seed ",
                      options.seed, ": ", list_text(lengths)));
  return lengths;
}

masks::Lengths documents(const Options& options, Notes& notes) {
  return options.parts ? number_list("--lengths", *options.parts)
                       : drawn(options, "documents", notes);
}

// Builders that need more than a line.

BuiltMask build_cross_document(const Options& options) {
  HEDDLE_CHECK(options.query_lengths.has_value() == options.key_lengths.has_value(),
               "cross-document: found only one of --query-lengths and --key-lengths; "
               "expected both or none");
  if (options.query_lengths) {
    return {masks::cross_document(number_list("--query-lengths", *options.query_lengths),
                                  number_list("--key-lengths", *options.key_lengths)),
            {}};
  }
  Notes notes;
  Options queries = options, keys = options;
  queries.length = rows_of(options);
  keys.length = keys_of(options);
  keys.seed = options.seed ^ 1;
  const auto query_lengths = drawn(queries, "query documents", notes);
  const auto key_lengths = drawn(keys, "key documents", notes);
  return {masks::cross_document(query_lengths, key_lengths), notes};
}

BuiltMask build_shared_question(const Options& options) {
  Notes notes;
  std::vector<masks::QuestionGroup> groups;
  if (options.parts) {
    for (const Item& item : group_list("--groups", *options.parts)) {
      groups.push_back({item[0], masks::Lengths(item.begin() + 1, item.end())});
    }
    return {masks::shared_question(groups, options.length), notes};
  }
  Random random(static_cast<uint64_t>(options.seed), 1);
  for (const int64_t length : drawn(options, "groups", notes)) {
    const int64_t parts = std::min<int64_t>(random.between(3, 7), length);
    masks::QuestionGroup group{length - (parts - 1) * (length / parts), {}};
    group.answers.assign(static_cast<size_t>(parts - 1), length / parts);
    groups.push_back(group);
  }
  notes.push_back("each group: a question and 2 to 6 answers of about the same length");
  return {masks::shared_question(groups), notes};
}

BuiltMask build_prefix_document(const Options& options) {
  Notes notes;
  std::vector<masks::PrefixDocument> parts;
  if (options.parts) {
    for (const Item& item : pair_list("--documents", *options.parts)) {
      parts.push_back({item[0], item[1]});
    }
    return {masks::prefix_lm_document(parts, options.length), notes};
  }
  for (const int64_t length : drawn(options, "documents", notes)) {
    parts.push_back({length, length / 2});
  }
  notes.push_back("the first half of each document is its prefix");
  return {masks::prefix_lm_document(parts), notes};
}

BuiltMask build_qk_sparse(const Options& options) {
  Notes notes;
  std::vector<masks::TokenRange> dropped;
  if (options.parts) {
    for (const Item& item : pair_list("--dropped", *options.parts)) {
      dropped.push_back({item[0], item[1]});
    }
    return {masks::qk_sparse(length_of(options), dropped), notes};
  }
  int64_t begin = 0;
  bool drop = false;
  for (const int64_t length : drawn(options, "parts", notes)) {
    if (drop) dropped.push_back({begin, begin + length});
    drop = !drop;
    begin += length;
  }
  notes.push_back("every second part is dropped");
  return {masks::qk_sparse(begin, dropped), notes};
}

BuiltMask build_hash_sparse(const Options& options) {
  Notes notes;
  const auto sizes =
      options.parts ? number_list("--buckets", *options.parts) : drawn(options, "buckets", notes);
  return {masks::hash_buckets(sizes, options.causal), notes};
}

BuiltMask build_prefix_tree(const Options& options) {
  Notes notes;
  std::vector<masks::TreeNode> nodes;
  if (options.parts) {
    for (const Item& item : pair_list("--nodes", *options.parts)) {
      nodes.push_back({item[0], item[1]});
    }
    return {masks::prefix_tree(nodes, options.length), notes};
  }
  // Depth first: the parent of a node is on the path to the node before it.
  Random random(static_cast<uint64_t>(options.seed), 1);
  std::vector<int64_t> path;
  for (const int64_t length : drawn(options, "nodes", notes)) {
    if (!path.empty()) path.resize(static_cast<size_t>(random.between(1, std::ssize(path))));
    nodes.push_back({path.empty() ? -1 : path.back(), length});
    path.push_back(std::ssize(nodes) - 1);
  }
  return {masks::prefix_tree(nodes), notes};
}

BuiltMask build_causal_with_offset(const Options& options) {
  const int64_t rows = rows_of(options), keys = keys_of(options);
  return {masks::causal_with_offset(rows, keys, options.offset.value_or(keys - rows)), {}};
}

BuiltMask build_random_eviction(const Options& options) {
  const int64_t budget = options.budget.value_or(part_of(options, 2));
  return {masks::random_eviction(length_of(options), budget, options.heads,
                                 static_cast<uint64_t>(options.seed)),
          {str("--budget ", budget, " --seed ", options.seed)}};
}

/// The builders that take a list of documents and nothing else.
template <ColumnMask (*kBuild)(const masks::Lengths&, std::optional<int64_t>)>
BuiltMask build_documents(const Options& options) {
  Notes notes;
  const masks::Lengths lengths = documents(options, notes);
  return {kBuild(lengths, options.length), notes};
}

using C = const Command&;
using O = const Options&;

constexpr Builder kBuilders[] = {
    {"full", "every row sees every key", "--length 4096",
     [](C c, Options& o) { add_length(c, o), add_sides(c, o); },
     [](O o) {
       return BuiltMask{masks::full(rows_of(o), keys_of(o)), {}};
     }},
    {"causal", "row i sees keys j <= i", "--length 1048576", add_length,
     [](O o) {
       return BuiltMask{masks::causal(length_of(o)), {}};
     }},
    {"causal-with-offset", "row i sees keys j <= i + offset: new rows after a cache of keys",
     "--query-length 512 --key-length 4096",
     [](C c, Options& o) {
       add_length(c, o), add_sides(c, o);
       c.option("--offset", o.offset, "keys before the first row (keys - rows)");
     },
     build_causal_with_offset},
    {"sliding-window", "causal; row i sees the last keys only", "--length 4096 --window 256",
     [](C c, Options& o) { add_length(c, o), add_window(c, o); },
     [](O o) {
       const int64_t window = o.window.value_or(part_of(o, 16));
       return BuiltMask{masks::sliding_window(length_of(o), window), {str("--window ", window)}};
     }},
    {"local-window", "row i sees its neighbours on both sides", "--left 100 --right 20",
     [](C c, Options& o) { add_length(c, o), add_neighbours(c, o); },
     [](O o) {
       const int64_t left = o.left.value_or(part_of(o, 16));
       const int64_t right = o.right.value_or(part_of(o, 16));
       return BuiltMask{masks::local_window(length_of(o), left, right),
                        {str("--left ", left, " --right ", right)}};
     }},
    {"document", "packed documents, each seen by itself alone", "--lengths 4,3,3", add_documents,
     build_documents<masks::document>},
    {"causal-document", "packed documents, causal", "--length 1048576 --count 20", add_documents,
     build_documents<masks::causal_document>},
    {"cross-document", "cross-attention: queries of document d see keys of document d",
     "--query-lengths 5,2,4 --key-lengths 7,3,3",
     [](C c, Options& o) {
       c.option("--query-lengths", o.query_lengths, "query rows of each document", "LIST");
       c.option("--key-lengths", o.key_lengths, "keys of each document", "LIST");
       add_length(c, o), add_sides(c, o);
       c.option("--count", o.count, "without lists: how many documents to draw");
       c.option("--seed", o.seed, "without lists: which documents are drawn");
     },
     build_cross_document},
    {"shared-question", "a question and its answers, which do not see each other",
     "--groups '4:3,3 5:2,2,2'",
     [](C c, Options& o) {
       add_parts(c, o, "--groups", "question:answer,answer for each group, spaces between groups");
     },
     build_shared_question},
    {"global-sliding", "first tokens see and are seen by all, the others see neighbours",
     "--length 8192 --globals 64 --left 256 --right 256",
     [](C c, Options& o) {
       add_length(c, o), add_neighbours(c, o);
       c.option("--globals", o.globals, "global tokens (16)");
     },
     [](O o) {
       const int64_t globals = o.globals.value_or(std::min<int64_t>(16, length_of(o)));
       const int64_t left = o.left.value_or(part_of(o, 16));
       const int64_t right = o.right.value_or(part_of(o, 16));
       return BuiltMask{masks::global_sliding(length_of(o), globals, left, right),
                        {str("--globals ", globals, " --left ", left, " --right ", right)}};
     }},
    {"causal-blockwise", "demonstrations see themselves, the last document sees all",
     "--lengths 40,30,30", add_documents, build_documents<masks::causal_blockwise>},
    {"prefix-lm-causal", "causal, but every row sees the prefix", "--length 4096 --prefix 1024",
     [](C c, Options& o) {
       add_length(c, o);
       c.option("--prefix", o.prefix, "tokens that every row sees (length / 2)");
     },
     [](O o) {
       const int64_t prefix = o.prefix.value_or(length_of(o) / 2);
       return BuiltMask{masks::prefix_lm_causal(length_of(o), prefix), {str("--prefix ", prefix)}};
     }},
    {"prefix-lm-document", "packed documents, each with a prefix that all of it sees",
     "--documents 3:2,2:2,5:2",
     [](C c, Options& o) {
       add_parts(c, o, "--documents", "length:prefix of each document, such as 3:2,2:2");
     },
     build_prefix_document},
    {"qk-sparse", "causal, but keys of dropped parts are not seen from inside the part",
     "--length 10 --dropped 2:5,6:8",
     [](C c, Options& o) {
       add_parts(c, o, "--dropped", "begin:end of each dropped part, such as 2:5,6:8");
     },
     build_qk_sparse},
    {"hash-sparse", "tokens sorted by hash bucket; a bucket sees itself",
     "--buckets 3,4,3 --causal",
     [](C c, Options& o) {
       add_parts(c, o, "--buckets", "sizes of the buckets, such as 3,4,3");
       c.flag("--causal", o.causal, "row i sees keys j <= i of its bucket");
     },
     build_hash_sparse},
    {"random-eviction", "causal, with a cache that evicts a random key at each row once full",
     "--length 4096 --budget 1024 --heads 8",
     [](C c, Options& o) {
       add_length(c, o);
       c.option("--budget", o.budget, "keys that the cache holds (length / 2)");
       c.option("--heads", o.heads, "key/value heads, each with evictions of its own");
       c.option("--seed", o.seed, "which keys are evicted");
     },
     build_random_eviction},
    {"prefix-tree", "a tree of token runs, depth first; tokens see their ancestors",
     "--nodes root:4,0:3,1:2,0:3",
     [](C c, Options& o) {
       add_parts(c, o, "--nodes", "parent:length of each node, such as root:4,0:3,0:3");
     },
     build_prefix_tree},
    {"image-prefix-window", "every row sees the image, text is causal with a window",
     "--length 4096 --image 1024 --window 512",
     [](C c, Options& o) {
       add_length(c, o), add_window(c, o);
       c.option("--image", o.image, "tokens of the image (length / 4)");
     },
     [](O o) {
       const int64_t image = o.image.value_or(length_of(o) / 4);
       const int64_t window = o.window.value_or(part_of(o, 16));
       return BuiltMask{masks::image_prefix_window(length_of(o), image, window),
                        {str("--image ", image, " --window ", window)}};
     }},
    {"valid-rows", "padding: the first rows see every key, the rest nothing",
     "--length 128 --valid 100",
     [](C c, Options& o) {
       add_length(c, o), add_sides(c, o);
       c.option("--valid", o.valid, "rows that are no padding (3/4 of the rows)");
     },
     [](O o) {
       const int64_t rows = rows_of(o), valid = o.valid.value_or(rows - rows / 4);
       return BuiltMask{masks::valid_rows(rows, keys_of(o), valid), {str("--valid ", valid)}};
     }},
};

}  // namespace

std::span<const Builder> builders() { return kBuilders; }

}  // namespace heddle::cli
