#include "heddle/data/decompress.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "heddle/base/error.h"

namespace heddle::data {

namespace {

constexpr size_t kReadBlock = size_t{256} << 10;

/// Compressed bytes, read ahead by one block.
class Input {
 public:
  Input(text::ReadBytes read, std::string name)
      : read_(std::move(read)), name_(std::move(name)), block_(kReadBlock) {}

  const std::string& name() const { return name_; }
  const char* data() const { return block_.data() + begin_; }
  size_t size() const { return end_ - begin_; }
  void take(size_t count) { begin_ += count; }

  /// Makes at least `count` bytes ready; false when the input ends before.
  bool fill(size_t count = 1) {
    while (size() < count) {
      const size_t kept = size();
      std::memmove(block_.data(), data(), kept);
      begin_ = 0;
      end_ = kept + read_(block_.data() + kept, kReadBlock - kept);
      if (end_ == kept) return false;
    }
    return true;
  }

  bool starts_with(std::string_view magic) {
    return fill(magic.size()) && std::string_view(data(), magic.size()) == magic;
  }

 private:
  text::ReadBytes read_;
  std::string name_;
  std::vector<char> block_;
  size_t begin_ = 0, end_ = 0;
};

constexpr std::string_view kZstdMagic("\x28\xB5\x2F\xFD", 4), kGzipMagic("\x1F\x8B", 2);

class ZstdText {
 public:
  explicit ZstdText(Input input) : input_(std::move(input)), context_(ZSTD_createDCtx()) {
    HEDDLE_CHECK(context_ != nullptr, input_.name(), ": no memory to decompress with");
  }

  size_t read(char* target, size_t bytes) {
    ZSTD_outBuffer out{target, bytes, 0};
    while (out.pos == 0) {
      // Output may still be held back where the input has ended.
      const bool ended = !input_.fill();
      if (ended && !inside_) return 0;
      ZSTD_inBuffer in{input_.data(), input_.size(), 0};
      const size_t left = ZSTD_decompressStream(context_.get(), &out, &in);
      HEDDLE_CHECK(!ZSTD_isError(left), input_.name(), ": zstd: ", ZSTD_getErrorName(left));
      input_.take(in.pos);
      inside_ = left != 0;
      HEDDLE_CHECK(!ended || !inside_ || out.pos > 0, input_.name(),
                   ": zstd: the file ends inside a frame (cut short?)");
    }
    return out.pos;
  }

 private:
  struct Free {
    void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
  };
  Input input_;
  std::unique_ptr<ZSTD_DCtx, Free> context_;
  bool inside_ = false;  // a frame has begun and not ended
};

class GzipText {
 public:
  explicit GzipText(Input input) : input_(std::move(input)) {
    constexpr int kGzipOnly = 16 + MAX_WBITS;
    HEDDLE_CHECK(inflateInit2(&stream_, kGzipOnly) == Z_OK, input_.name(),
                 ": no memory to decompress with");
  }
  GzipText(const GzipText&) = delete;
  GzipText& operator=(const GzipText&) = delete;
  ~GzipText() { inflateEnd(&stream_); }

  size_t read(char* target, size_t bytes) {
    stream_.next_out = reinterpret_cast<Bytef*>(target);
    stream_.avail_out = static_cast<uInt>(std::min(bytes, size_t{1} << 30));
    const uInt room = stream_.avail_out;
    while (stream_.avail_out == room) {
      const bool ended = !input_.fill();
      if (ended && !inside_) return 0;
      if (!inside_) start_member();
      step();
      HEDDLE_CHECK(!ended || !inside_ || stream_.avail_out < room, input_.name(),
                   ": gzip: the file ends inside a member (cut short?)");
    }
    return room - stream_.avail_out;
  }

 private:
  void start_member() {
    HEDDLE_CHECK(input_.starts_with(kGzipMagic), input_.name(),
                 ": gzip: found bytes behind the last member; expected the end of the file");
    inflateReset(&stream_);
    inside_ = true;
  }

  void step() {
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input_.data()));
    stream_.avail_in = static_cast<uInt>(input_.size());
    const int status = inflate(&stream_, Z_NO_FLUSH);
    input_.take(input_.size() - stream_.avail_in);
    HEDDLE_CHECK(status == Z_OK || status == Z_STREAM_END || status == Z_BUF_ERROR, input_.name(),
                 ": gzip: ", stream_.msg ? stream_.msg : "damaged data");
    if (status == Z_STREAM_END) inside_ = false;
  }

  Input input_;
  z_stream stream_{};
  bool inside_ = false;
};

/// Formats that are told from their first bytes and not read.
std::string_view foreign_format(Input& input) {
  if (input.starts_with(std::string_view("\xFD"
                                         "7zXZ\0",
                                         6)))
    return "xz";
  if (input.starts_with("BZh") && input.fill(10) &&
      std::string_view(input.data() + 4, 6) == "1AY&SY") {
    return "bzip2";
  }
  if (input.starts_with("PK\x03\x04")) return "zip";
  return {};
}

/// Reads in the way that the first bytes ask for.
text::ReadBytes choose(Input input) {
  const std::string_view foreign = foreign_format(input);
  HEDDLE_CHECK(foreign.empty(), input.name(), ": found a file compressed by ", foreign,
               "; expected plain text, zstd or gzip");
  if (input.starts_with(kZstdMagic)) {
    return [text = std::make_shared<ZstdText>(std::move(input))](char* target, size_t bytes) {
      return text->read(target, bytes);
    };
  }
  if (input.starts_with(kGzipMagic)) {
    return [text = std::make_shared<GzipText>(std::move(input))](char* target, size_t bytes) {
      return text->read(target, bytes);
    };
  }
  return [plain = std::make_shared<Input>(std::move(input))](char* target, size_t bytes) -> size_t {
    if (!plain->fill()) return 0;
    const size_t count = std::min(bytes, plain->size());
    std::memcpy(target, plain->data(), count);
    plain->take(count);
    return count;
  };
}

}  // namespace

text::ReadBytes decompressed(text::ReadBytes read, std::string name) {
  // Chosen at the first read: errors of reading belong there.
  struct State {
    explicit State(Input from) : input(std::move(from)) {}
    Input input;
    text::ReadBytes chosen;
  };
  auto state = std::make_shared<State>(Input(std::move(read), std::move(name)));
  return [state](char* target, size_t bytes) -> size_t {
    if (!state->chosen) state->chosen = choose(std::move(state->input));
    return state->chosen(target, bytes);
  };
}

}  // namespace heddle::data
