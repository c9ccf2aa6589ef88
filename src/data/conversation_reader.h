// Reads conversations from jsonl, one a line, with bounded memory and whatever bytes come:
//
//   not UTF-8, \u0000                    replaced by U+FFFD, counted
//   an empty line                        left out, counted
//   no text in any turn, or no answer    left out, counted
//   more than `longest_line` bytes       an Error with file and line, or left out and counted
//   no JSON, or a key twice              the same (on_bad_line), and so are
//   fields missing or of another type    …
//   tools, images, parts of content      …
#pragma once

#include <string>

#include "heddle/data/conversation.h"
#include "heddle/data/input_file.h"
#include "heddle/data/object_lines.h"

namespace heddle::data {

/// The conversations of one file, in their order.
class ConversationReader {
 public:
  /// Reads bytes as they come; `name` stands for the file in errors.
  ConversationReader(text::ReadBytes read, std::string name,
                     const ConversationOptions& options = {});

  /// The next conversation that is kept; false at the end.
  bool next(Conversation& conversation);

  /// Of what was read so far.
  const ConversationCounts& counts() const { return counts_; }

  /// As named, or as the first line has it; automatic before that.
  DatasetFormat format() const { return options_.format; }

 private:
  ObjectLines lines_;
  ConversationOptions options_;
  ConversationCounts counts_;
};

/// Opens a file, compressed or not, that must still be what it was when `state` was taken.
ConversationReader open_conversations(const std::string& path, const FileState& state,
                                      const ConversationOptions& options = {});

}  // namespace heddle::data
