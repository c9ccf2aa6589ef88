// Where the time of a worker goes.
#pragma once

#include "heddle/base/timer.h"

namespace heddle::decode {

/// Seconds of one worker, or of several added up.
struct Profile {
  double text = 0;        ///< normalising, tokenising, putting together again
  double encoder = 0;     ///< packed source sentences
  double decoder = 0;     ///< decoder steps without the projection
  double projection = 0;  ///< output projection and choice of tokens
  double search = 0;      ///< scheduling and bookkeeping
  double idle = 0;        ///< waiting for lines

  double total() const { return text + encoder + decoder + projection + search + idle; }

  Profile& operator+=(const Profile& other) {
    text += other.text;
    encoder += other.encoder;
    decoder += other.decoder;
    projection += other.projection;
    search += other.search;
    idle += other.idle;
    return *this;
  }
};

/// Adds its lifetime to one of the sums.
class Share {
 public:
  explicit Share(double& seconds) : seconds_(seconds) {}
  ~Share() { seconds_ += timer_.seconds(); }
  Share(const Share&) = delete;
  Share& operator=(const Share&) = delete;

 private:
  double& seconds_;
  Timer timer_;
};

}  // namespace heddle::decode
