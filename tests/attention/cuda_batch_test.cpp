// Batches on the GPU against one sequence at a time, and FlashMask's columns against the host's
// importer.
#include <gtest/gtest.h>

#include "heddle/attention/cuda/batched.h"
#include "heddle/attention/table.h"
#include "heddle/base/random.h"
#include "heddle/mask/algebra.h"
#include "heddle/mask/families.h"
#include "tests/attention/gpu_case.h"

namespace heddle::test {
namespace {

using attention::cuda::BatchArgs;

class BatchGpu : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda::device_count() == 0) GTEST_SKIP() << "no GPU";
  }
};

Tensor random_on_gpu(const Shape& shape, uint64_t seed) {
  Random random(seed);
  Tensor host = Tensor::empty(shape, DType::bf16);
  for (int64_t i = 0; i < host.elements(); ++i) {
    host.data<BFloat16>()[i] = BFloat16(static_cast<float>(random.normal()));
  }
  return cuda::to_gpu(host, gpu());
}

/// [B, H, T, E] in memory, seen as [B, T, H, E].
Tensor heads_first(const Tensor& tensor) {
  return Tensor::wrap(tensor.raw(), {tensor.dim(0), tensor.dim(2), tensor.dim(1), tensor.dim(3)},
                      {tensor.stride(0), tensor.stride(2), tensor.stride(1), 1}, tensor.dtype(),
                      tensor.device());
}

/// One sequence of a batch: [T, H, E], or [H, T] of lse.
Tensor sequence(const Tensor& tensor, int64_t at) {
  const auto bytes = static_cast<int64_t>(size_of(tensor.dtype()));
  auto* data = static_cast<char*>(tensor.raw()) + at * tensor.stride(0) * bytes;
  if (tensor.rank() == 3) {
    return Tensor::wrap(data, {tensor.dim(1), tensor.dim(2)}, {tensor.stride(1), tensor.stride(2)},
                        tensor.dtype(), tensor.device());
  }
  return Tensor::wrap(data, {tensor.dim(1), tensor.dim(2), tensor.dim(3)},
                      {tensor.stride(1), tensor.stride(2), tensor.stride(3)}, tensor.dtype(),
                      tensor.device());
}

/// Bytes that differ between two equally long pieces of GPU memory.
int64_t different_bytes(const Tensor& a, const Tensor& b) {
  const auto bytes = a.elements() * static_cast<int64_t>(size_of(a.dtype()));
  const auto to_bytes = [&](const Tensor& tensor) {
    return cuda::to_host(Tensor::wrap(tensor.raw(), {bytes}, {1}, DType::u8, tensor.device()),
                         gpu());
  };
  const Tensor left = to_bytes(a), right = to_bytes(b);
  int64_t count = 0;
  for (int64_t i = 0; i < bytes; ++i) {
    count += left.data<uint8_t>()[i] != right.data<uint8_t>()[i];
  }
  return count;
}

struct Results {
  Tensor out, lse, d_q, d_k, d_v;  // [B, H, T, E] in memory
};

Results blank(int64_t batches, int64_t heads, int64_t kv_heads, int64_t length, int64_t head_dim) {
  auto& memory = gpu().memory();
  const Shape rows{batches, heads, length, head_dim}, keys{batches, kv_heads, length, head_dim};
  return {Tensor::empty(rows, DType::bf16, memory),
          Tensor::empty({batches, heads, length}, DType::f32, memory),
          Tensor::empty(rows, DType::bf16, memory), Tensor::empty(keys, DType::bf16, memory),
          Tensor::empty(keys, DType::bf16, memory)};
}

/// The table's row with the kernels that a batch takes: the first for masks of any kind.
std::string_view row_of_batches(const attention::Args& args, attention::Pass pass) {
  for (const attention::Implementation& row : attention::implementations()) {
    if (row.pays == nullptr && row.applies(args, pass)) return row.name;
  }
  return {};
}

/// The same batch in one launch and sequence by sequence; `shared`: one mask for all.
void expect_same_as_single(int64_t head_dim, bool shared) {
  constexpr int64_t kBatches = 3, kHeads = 4, kKvHeads = 2, kLength = 333;
  const Tensor q = random_on_gpu({kBatches, kHeads, kLength, head_dim}, 1),
               d_out = random_on_gpu({kBatches, kHeads, kLength, head_dim}, 2),
               k = random_on_gpu({kBatches, kKvHeads, kLength, head_dim}, 3),
               v = random_on_gpu({kBatches, kKvHeads, kLength, head_dim}, 4);
  std::vector<ColumnMask> masks;
  for (uint64_t seed = 1; seed <= (shared ? 1 : kBatches); ++seed) {
    masks.push_back(masks::family("hash-sparse", kLength, kKvHeads, seed));
  }
  std::vector<const ColumnMask*> pointers;
  for (const ColumnMask& mask : masks) pointers.push_back(&mask);
  DeviceMask device(pointers, gpu());
  const Results batched = blank(kBatches, kHeads, kKvHeads, kLength, head_dim),
                single = blank(kBatches, kHeads, kKvHeads, kLength, head_dim);
  const BatchArgs args{.q = heads_first(q),
                       .k = heads_first(k),
                       .v = heads_first(v),
                       .out = heads_first(batched.out),
                       .lse = batched.lse,
                       .mask = &device,
                       .context = &gpu(),
                       .deterministic = true};
  attention::cuda::forward(args);
  attention::cuda::backward(args, {heads_first(d_out), heads_first(batched.d_q),
                                   heads_first(batched.d_k), heads_first(batched.d_v)});
  for (int64_t b = 0; b < kBatches; ++b) {
    attention::Args one;
    one.q = sequence(args.q, b);
    one.k = sequence(args.k, b);
    one.v = sequence(args.v, b);
    one.out = sequence(heads_first(single.out), b);
    one.lse = sequence(single.lse, b);
    one.mask = &masks[shared ? 0 : static_cast<size_t>(b)];
    one.cuda = &gpu();
    one.deterministic = true;
    attention::forward(one, row_of_batches(one, attention::Pass::forward));
    attention::backward(
        one,
        {sequence(heads_first(d_out), b), sequence(heads_first(single.d_q), b),
         sequence(heads_first(single.d_k), b), sequence(heads_first(single.d_v), b)},
        row_of_batches(one, attention::Pass::backward));
  }
  const std::string text = str("E ", head_dim, shared ? ", one mask" : ", a mask a sequence");
  EXPECT_EQ(different_bytes(batched.out, single.out), 0) << text;
  EXPECT_EQ(different_bytes(batched.lse, single.lse), 0) << text;
  EXPECT_EQ(different_bytes(batched.d_q, single.d_q), 0) << text;
  EXPECT_EQ(different_bytes(batched.d_k, single.d_k), 0) << text;
  EXPECT_EQ(different_bytes(batched.d_v, single.d_v), 0) << text;
}

TEST_F(BatchGpu, EqualsOneSequenceAtATime) {
  for (const int64_t head_dim : {64, 128, 256}) {
    for (const bool shared : {true, false}) expect_same_as_single(head_dim, shared);
  }
}

/// What forward says about tensors that it refuses.
std::string refusal(const BatchArgs& args) {
  try {
    attention::cuda::forward(args);
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing";
}

TEST_F(BatchGpu, RefusesWithReasons) {
  DeviceMask mask(masks::family("causal", 16, 1, 1), gpu());
  const auto args_of = [&](const Tensor& rows) {
    return BatchArgs{
        .q = rows,
        .k = rows,
        .v = rows,
        .out = rows,
        .lse = Tensor::empty({rows.dim(0), rows.dim(2), rows.dim(1)}, DType::f32, gpu().memory()),
        .mask = &mask,
        .context = &gpu()};
  };
  const auto& memory = random_on_gpu({4096}, 1);
  const auto rows_of = [&](int64_t length, int64_t head_dim, int64_t stride, int64_t first) {
    return Tensor::wrap(memory.data<BFloat16>() + first, {1, length, 1, head_dim},
                        {0, stride, head_dim, 1}, DType::bf16, memory.device());
  };
  EXPECT_EQ(refusal(args_of(rows_of(16, 64, 64, 0))), "nothing");
  EXPECT_NE(refusal(args_of(rows_of(16, 20, 24, 0))).find("E=20"), std::string::npos);
  EXPECT_NE(refusal(args_of(rows_of(16, 64, 68, 0))).find("16 bytes"), std::string::npos);
  EXPECT_NE(refusal(args_of(rows_of(16, 64, 64, 4))).find("16 bytes"), std::string::npos);
  EXPECT_NE(refusal(args_of(rows_of(15, 64, 64, 0))).find("16 × 16"), std::string::npos);
}

/// Imports FlashMask's columns on the GPU and compares every bound with the host's.
void expect_import(int64_t columns, bool causal, int64_t rows, int64_t keys) {
  constexpr int64_t kBatches = 2, kHeads = 3;
  Random random(static_cast<uint64_t>(columns + rows));
  Tensor indices = Tensor::empty({kBatches * kHeads, keys, columns}, DType::i32);
  for (int64_t i = 0; i < indices.elements(); ++i) {
    const int64_t at = i % columns, before = at > 0 ? indices.data<int32_t>()[i - 1] : 0;
    const bool is_end = at == 3 || (at == 1 && (causal || columns == 4));  // not before its begin
    indices.data<int32_t>()[i] = static_cast<int32_t>(random.between(is_end ? before : 0, rows));
  }
  const Tensor on_gpu = cuda::to_gpu(indices, gpu());
  const Tensor bounds = Tensor::empty({kBatches * kHeads, keys, 4}, DType::i32, gpu().memory());
  const cuda::DeviceColumns mask{static_cast<const cuda::ColumnBounds*>(bounds.raw()),
                                 kBatches,
                                 kHeads,
                                 static_cast<int32_t>(rows),
                                 static_cast<int32_t>(keys),
                                 static_cast<int32_t>(keys - rows),
                                 causal};
  const cuda::StartendColumns from{on_gpu.data<int32_t>(), static_cast<int32_t>(columns), columns,
                                   keys * columns};
  HEDDLE_CUDA_CHECK(cuda::launch_import(from, mask, static_cast<cuda::ColumnBounds*>(bounds.raw()),
                                        gpu().stream()));
  const Tensor found = cuda::to_host(bounds, gpu());
  int64_t wrong = 0;
  for (int64_t b = 0; b < kBatches; ++b) {
    const Tensor own = indices.slice(0, b * kHeads, (b + 1) * kHeads);
    const ColumnMask expected = masks::from_startend_row_indices(own, rows, causal);
    for (int32_t head = 0; head < kHeads; ++head) {
      for (int32_t key = 0; key < keys; ++key) {
        const MaskColumn column = expected.column(head, key);
        const int32_t* bound = found.data<int32_t>() + ((b * kHeads + head) * keys + key) * 4;
        for (int32_t row = 0; row < rows; ++row) {
          const MaskColumn ours{column.first, bound[0], bound[1], bound[2], bound[3]};
          wrong += allowed(ours, row) != allowed(column, row);
        }
      }
    }
  }
  EXPECT_EQ(wrong, 0) << columns << " columns, " << (causal ? "causal, " : "") << rows << " × "
                      << keys;
}

TEST_F(BatchGpu, ImportAgreesWithHost) {
  for (const auto& [rows, keys] : {std::pair{70, 70}, {33, 150}, {150, 33}, {1, 1}}) {
    expect_import(1, true, rows, keys);
    expect_import(2, true, rows, keys);
    expect_import(2, false, rows, keys);
    expect_import(4, false, rows, keys);
  }
}

}  // namespace
}  // namespace heddle::test
