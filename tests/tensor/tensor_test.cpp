#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

#include "heddle/tensor/tensor.h"

namespace heddle {
namespace {

TEST(Shapes, CountAndPrint) {
  const Shape shape = {5, 8, 64};
  EXPECT_EQ(shape.elements(), 2560);
  EXPECT_EQ(shape.text(), "[5, 8, 64]");
  EXPECT_EQ(shape.row_major_strides(), (Shape{512, 64, 1}));
  EXPECT_EQ(Shape{}.elements(), 1);
  EXPECT_THROW(Shape({1, 1, 1, 1, 1, 1, 1}), Error);
  EXPECT_THROW(shape[3], Error);
  EXPECT_THROW((Shape{1, -1}.elements()), Error);
  EXPECT_THROW((Shape{int64_t{1} << 40, int64_t{1} << 40}.elements()), Error);
}

TEST(Tensors, AreViewsOfOneBuffer) {
  const Tensor tensor = Tensor::zeros({4, 6}, DType::f32);
  const Tensor part = tensor.slice(0, 1, 3).slice(1, 2, 4);  // [2, 2]
  part.data<float>()[part.stride(0) + 1] = 7;
  EXPECT_EQ(tensor.data<float>()[2 * 6 + 3], 7);
  EXPECT_FALSE(part.is_contiguous());
  EXPECT_THROW(part.reshape({4}), Error);
  EXPECT_EQ(tensor.reshape({3, 8}).data<float>()[15], 7);
  EXPECT_THROW(tensor.reshape({5, 5}), Error);
  EXPECT_THROW(tensor.slice(0, 3, 5), Error);
  EXPECT_THROW(tensor.slice(0, 3, 2), Error);
}

TEST(Tensors, CheckTheirElementType) {
  const Tensor tensor = Tensor::empty({2}, DType::bf16);
  EXPECT_NO_THROW(tensor.data<BFloat16>());
  try {
    tensor.data<float>();
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "tensor: asked for f32; found bf16");
  }
}

TEST(Tensors, KeepTheirBufferAlive) {
  Tensor part;
  {
    const Tensor tensor = Tensor::zeros({1000}, DType::i64);
    tensor.data<int64_t>()[999] = 3;
    part = tensor.slice(0, 999, 1000);
  }
  EXPECT_EQ(part.data<int64_t>()[0], 3);
}

TEST(Tensors, RefuseWhatCannotBe) {
  EXPECT_THROW(Tensor::empty({std::numeric_limits<int64_t>::max()}, DType::f32), Error);
  EXPECT_THROW(Tensor::wrap(nullptr, {1}, {1}, DType::f32), Error);
  float x = 0;
  EXPECT_THROW(Tensor::wrap(&x, {1, 1}, {1}, DType::f32), Error);
}

TEST(Buffers, AreAligned) {
  for (int i = 1; i < 50; ++i) {
    const Tensor tensor = Tensor::empty({i}, DType::i8);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.raw()) % kHostAlignment, 0u);
  }
}

TEST(Arenas, CutLinesFromOneBlockAndRefuseMore) {
  Arena arena(1024);
  const Tensor a = Tensor::empty({10}, DType::f32, arena);   // 40 bytes: one line of 64
  const Tensor b = Tensor::empty({100}, DType::f32, arena);  // 400 bytes: seven lines
  EXPECT_EQ(static_cast<std::byte*>(b.raw()) - static_cast<std::byte*>(a.raw()), 64);
  EXPECT_EQ(arena.used(), 64u + 448u);
  EXPECT_THROW(arena.reset(), Error);
  EXPECT_THROW(Tensor::empty({200}, DType::f32, arena), Error);
  EXPECT_THROW(arena.allocate(std::numeric_limits<size_t>::max()), Error);
  EXPECT_NO_THROW(arena.allocate(512));
}

TEST(Arenas, ResetWhenNothingIsHeld) {
  Arena arena(256);
  void* first = nullptr;
  for (int step = 0; step < 5; ++step) {
    void* place = Tensor::empty({64}, DType::f32, arena).raw();
    first = step == 0 ? place : first;
    EXPECT_EQ(place, first);
    EXPECT_EQ(arena.used(), 256u);
    arena.reset();
    EXPECT_EQ(arena.used(), 0u);
  }
  EXPECT_EQ(arena.peak(), 256u);
}

}  // namespace
}  // namespace heddle
