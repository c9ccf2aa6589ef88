// What the kernel laboratory shares between its parts: problems with their data on the GPU, a
// reference in double on sampled rows, and waiting that cannot hang.
#pragma once

#include <cuda_runtime.h>

#include <functional>
#include <string>
#include <vector>

#include "heddle/attention/cuda/launch.h"
#include "heddle/mask/mask.h"
#include "heddle/mask/plan.h"

namespace lab {

using heddle::ColumnMask;
using heddle::TileShape;
namespace attention = heddle::attention::cuda;

/// Ends the process with the name of what was running when a CUDA call fails.
void check(cudaError_t error, const char* what);
#define LAB_CHECK(call) ::lab::check((call), #call)

/// Names what runs next, for the messages of check() and wait_for_gpu().
void set_current(const std::string& name);

/// Waits for all queued work; ends the process if it takes longer than the limit.
void wait_for_gpu(double seconds = 20);

/// GPU memory, freed with the object.
class Memory {
 public:
  explicit Memory(size_t bytes, int fill = 0);
  ~Memory();
  Memory(const Memory&) = delete;
  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t bytes() const { return bytes_; }
  void fill(int byte);
  void upload(const void* from, size_t bytes);
  void download(void* to) const;

 private:
  void* data_ = nullptr;
  size_t bytes_;
};

struct Sizes {
  int batches = 1, heads = 1, kv_heads = 1, head_dim = 128;
  bool bf16 = true;
};

struct Options {
  double scale = 0;  // 0: 1 / sqrt(E)
  double softcap = 0;
  bool sinks = false, alibi = false;
  float sink_shift = 0;  // added to all sinks
};

/// A 16-bit tensor [B, T + 8, H, E] whose last rows are NaN: the kernels are told of T rows only.
struct Operand {
  Operand(int batches, int64_t tokens, int heads, int head_dim);
  attention::Rows rows() const;
  std::vector<uint16_t> host() const;
  size_t at(int64_t batch, int64_t token, int64_t head) const;
  void randomise(uint32_t seed, bool bf16);  // normal, standard deviation 1

  int batches, heads, head_dim;
  int64_t tokens, padded;
  Memory memory;
};

/// The bounds and the plan of some masks (one, or one a sequence), made on the host.
struct Plan {
  Plan(const std::vector<const ColumnMask*>& masks, TileShape shape, bool by_query);
  attention::DeviceColumns columns;
  attention::TileBits bits;
  int64_t live = 0, full = 0;  // tiles, over all sets

 private:
  std::vector<Memory*> owned_;  // for the process: a laboratory frees nothing small
};

float to_float(uint16_t bits, bool bf16);

/// out and lse of one row, in double.
struct RowReference {
  std::vector<double> out;
  double lse;
};

struct Problem {
  Problem(std::vector<const ColumnMask*> masks, Sizes sizes, Options options = {});
  attention::Problem common() const;
  const ColumnMask& mask(int batch) const { return *masks[masks.size() == 1 ? 0 : batch]; }
  RowReference reference(int batch, int head, int row) const;
  void fetch();                  // q, k, v to the host, for the reference
  double visible_pairs() const;  // over all query heads and sequences

  std::vector<const ColumnMask*> masks;
  Sizes sizes;
  Options options;
  Operand q, k, v, out;
  Memory lse, queue;
  std::vector<float> sinks, slopes;
  Memory sinks_device, slopes_device;
  std::vector<uint16_t> q_host, k_host, v_host;
};

void parallel_for(int count, const std::function<void(int)>& body);

}  // namespace lab
