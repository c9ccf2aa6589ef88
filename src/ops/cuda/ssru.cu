// The recurrence of SSRU (ops/ssru.h) over whole sequences, and its gradients. A thread follows two
// neighbouring columns of one sequence and reads several rows ahead of the recurrence.
#include "heddle/ops/cuda/activation.cuh"

namespace heddle::ops::cuda {

namespace {

constexpr int kScanThreads = 64;
constexpr int kAhead = 4;  // rows

struct Two {
  float at[2];
};

__device__ Two two_of(uint32_t word) {
  const float2 pair = unpack_pair(word);
  return {{pair.x, pair.y}};
}

__device__ uint32_t& pair_at(const RowsView& rows, int64_t row, int64_t column) {
  return *reinterpret_cast<uint32_t*>(rows.data + row * rows.stride + column);
}

/// The columns of a thread and the rows of its sequence.
struct Track {
  int64_t column, begin, end;
};

__device__ Track track_of_thread(const int32_t* offsets) {
  const int64_t pair = static_cast<int64_t>(blockIdx.y) * kScanThreads + threadIdx.x;
  return {2 * pair, offsets[blockIdx.x], offsets[blockIdx.x + 1]};
}

/// x and forget gates of rows from `row` on, those before `end`.
struct Gates {
  uint32_t x[kAhead], forget[kAhead];

  __device__ Gates(const RowsView& gates, int64_t width, const Track& track, int64_t row) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const bool valid = row + i < track.end;
      x[i] = valid ? pair_at(gates, row + i, track.column) : 0;
      forget[i] = valid ? pair_at(gates, row + i, width + track.column) : 0;
    }
  }
};

__device__ void step(uint32_t x_word, uint32_t forget_word, Two& cell) {
  const Two x = two_of(x_word), gate = two_of(forget_word);
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    const float f = sigmoid(gate.at[j]);
    cell.at[j] = f * cell.at[j] + (1.0f - f) * x.at[j];
  }
}

/// body(row, cell behind it), row by row.
template <typename Body>
__device__ void each_cell(const RowsView& gates, int64_t width, const Track& track,
                          const Body& body) {
  Two cell{};
  for (int64_t row = track.begin; row < track.end; row += kAhead) {
    const Gates read(gates, width, track, row);
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (row + i >= track.end) break;
      step(read.x[i], read.forget[i], cell);
      body(row + i, cell);
    }
  }
}

__global__ void __launch_bounds__(kScanThreads) scan_kernel(const __grid_constant__ SsruScan p) {
  const Track track = track_of_thread(p.offsets);
  if (track.column >= p.width) return;
  each_cell(p.gates, p.width, track, [&](int64_t row, const Two& cell) {
    const float first = 0.0f > cell.at[0] ? 0.0f : cell.at[0];
    const float second = 0.0f > cell.at[1] ? 0.0f : cell.at[1];
    pair_at(p.out, row, track.column) = pack_pair(first, second);
  });
}

__global__ void __launch_bounds__(kScanThreads)
    scan_backward_kernel(const __grid_constant__ SsruScanBackward p) {
  const Track track = track_of_thread(p.offsets);
  if (track.column >= p.width) return;
  auto* cells = reinterpret_cast<float2*>(p.cells + track.column);
  const int64_t pairs = p.width / 2;
  Two cell{};  // behind the row at hand
  each_cell(p.gates, p.width, track, [&](int64_t row, const Two& behind) {
    cells[row * pairs] = {behind.at[0], behind.at[1]};
    cell = behind;
  });

  Two d_cell{};
  // Whole batches from the first row on, the last of them first.
  const int64_t length = track.end - track.begin;
  int64_t row = track.begin + (length + kAhead - 1) / kAhead * kAhead - kAhead;
  for (; row >= track.begin; row -= kAhead) {
    const Gates read(p.gates, p.width, track, row);
    uint32_t d_out[kAhead];
    float2 before[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int64_t at = row + i;
      d_out[i] = at < track.end ? pair_at(p.d_out, at, track.column) : 0;
      before[i] = at > track.begin && at < track.end ? cells[(at - 1) * pairs] : float2{0, 0};
    }
#pragma unroll
    for (int i = kAhead - 1; i >= 0; --i) {
      if (row + i >= track.end) continue;
      const Two x = two_of(read.x[i]), gate = two_of(read.forget[i]);
      const Two d = two_of(d_out[i]), previous{{before[i].x, before[i].y}};
      Two d_x, d_forget;
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const float f = sigmoid(gate.at[j]);
        const float total = d_cell.at[j] + (0.0f < cell.at[j] ? d.at[j] : 0.0f);
        d_x.at[j] = total * (1.0f - f);
        d_forget.at[j] = total * (previous.at[j] - x.at[j]) * (f * (1.0f - f));
        d_cell.at[j] = total * f;
      }
      cell = previous;
      pair_at(p.d_gates, row + i, track.column) = pack_pair(d_x.at[0], d_x.at[1]);
      pair_at(p.d_gates, row + i, p.width + track.column) =
          pack_pair(d_forget.at[0], d_forget.at[1]);
    }
  }
}

dim3 scan_grid(int64_t sequences, int64_t width) {
  return dim3(static_cast<unsigned>(sequences), blocks_for(width / 2, kScanThreads));
}

}  // namespace

int launch_ssru_scan(const SsruScan& scan, Stream stream) {
  if (scan.sequences == 0) return cudaSuccess;
  scan_kernel<<<scan_grid(scan.sequences, scan.width), kScanThreads, 0, stream>>>(scan);
  return cudaGetLastError();
}

int launch_ssru_scan_backward(const SsruScanBackward& scan, Stream stream) {
  if (scan.sequences == 0) return cudaSuccess;
  scan_backward_kernel<<<scan_grid(scan.sequences, scan.width), kScanThreads, 0, stream>>>(scan);
  return cudaGetLastError();
}

}  // namespace heddle::ops::cuda
