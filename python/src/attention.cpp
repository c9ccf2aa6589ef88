// Attention over a batch of arrays [B, S, heads, dim]: each batch row is one call of the library on
// strided views, so nothing is copied or moved. Shapes and names are checked by the library.
#include "heddle/attention/attention.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>

#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "arrays.h"
#include "bind.h"
#include "masks.h"
#include "threads.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace heddle::python {

namespace {

/// The masks of a batch: one for all rows, or one a row. Holds the Python objects.
class Masks {
 public:
  Masks(const nb::list& objects, int64_t batch) {
    HEDDLE_CHECK(objects.size() == 1 || static_cast<int64_t>(objects.size()) == batch,
                 "attention: found ", objects.size(), " masks; expected 1 or B = ", batch);
    for (nb::handle object : objects) {
      objects_.push_back(nb::borrow(object));
      if (nb::isinstance<PlannedMask>(object)) {
        const auto& planned = nb::cast<const PlannedMask&>(object);
        rows_.push_back({&planned.mask, &planned.plan});
      } else {
        rows_.push_back({&nb::cast<const ColumnMask&>(object), nullptr});
      }
    }
  }

  void put(int64_t b, attention::Args& args) const {
    const Row& row = rows_[rows_.size() == 1 ? 0 : static_cast<size_t>(b)];
    args.mask = row.mask;
    args.plan = row.plan;
  }

 private:
  struct Row {
    const ColumnMask* mask;
    const MaskPlan* plan;
  };

  std::vector<nb::object> objects_;
  std::vector<Row> rows_;
};

/// A tensor with a batch axis in front of the `rank` axes that the library takes.
Tensor batch_of(std::string_view name, Tensor tensor, int rank, int64_t batch) {
  HEDDLE_CHECK(tensor.rank() == rank + 1 && tensor.dim(0) == batch, "attention: ", name, " is ",
               tensor.shape().text(), "; expected ", rank + 1, " axes, the first B = ", batch);
  return tensor;
}

struct Batch {
  Tensor q, k, v, out, lse;
  int64_t size;

  Batch(const ReadArray& query, const ReadArray& key, const ReadArray& value, Bits16 bits)
      : q(tensor_of("query", query, bits)), size(q.dim(0)) {
    q = batch_of("query", q, 3, size);                                // [B, S, H, D]
    k = batch_of("key", tensor_of("key", key, bits), 3, size);        // [B, Sk, K, D]
    v = batch_of("value", tensor_of("value", value, bits), 3, size);  // [B, Sk, K, Dv]
  }

  attention::Args row(int64_t b, const Masks& masks, std::optional<double> scale) const {
    attention::Args args{.q = row_of(q, b),
                         .k = row_of(k, b),
                         .v = row_of(v, b),
                         .out = row_of(out, b),
                         .lse = row_of(lse, b),
                         .scale = scale};
    masks.put(b, args);
    return args;
  }
};

Bits16 bits_of(bool bfloat16) { return bfloat16 ? Bits16::bfloat16 : Bits16::refuse; }

void forward(const ReadArray& query, const ReadArray& key, const ReadArray& value,
             const WriteArray& out, const WriteArray& lse, const nb::list& mask_list,
             std::optional<double> scale, bool bfloat16) {
  const Bits16 bits = bits_of(bfloat16);
  Batch batch(query, key, value, bits);
  batch.out = batch_of("out", tensor_of("out", out, bits), 3, batch.size);  // [B, S, H, Dv]
  batch.lse = batch_of("lse", tensor_of("lse", lse), 2, batch.size);        // [B, H, S]
  const Masks masks(mask_list, batch.size);
  const nb::gil_scoped_release release;
  const std::shared_ptr<ThreadPool> threads = thread_pool();
  for (int64_t b = 0; b < batch.size; ++b) {
    attention::Args args = batch.row(b, masks, scale);
    args.threads = threads.get();
    attention::forward(args);
  }
}

void backward(const ReadArray& d_out, const ReadArray& query, const ReadArray& key,
              const ReadArray& value, const ReadArray& out, const ReadArray& lse,
              const WriteArray& d_query, const WriteArray& d_key, const WriteArray& d_value,
              const nb::list& mask_list, std::optional<double> scale, bool bfloat16) {
  const Bits16 bits = bits_of(bfloat16);
  Batch batch(query, key, value, bits);
  const auto input = [&](std::string_view name, const auto& array) {
    return batch_of(name, tensor_of(name, array, bits), 3, batch.size);
  };
  batch.out = input("out", out);                                      // [B, S, H, Dv]
  batch.lse = batch_of("lse", tensor_of("lse", lse), 2, batch.size);  // [B, H, S]
  const Tensor d_o = input("d_out", d_out);
  const Tensor d_q = input("d_query", d_query), d_k = input("d_key", d_key),
               d_v = input("d_value", d_value);
  const Masks masks(mask_list, batch.size);
  const nb::gil_scoped_release release;
  const std::shared_ptr<ThreadPool> threads = thread_pool();
  for (int64_t b = 0; b < batch.size; ++b) {
    attention::Args args = batch.row(b, masks, scale);
    args.threads = threads.get();
    attention::backward(args, {.d_out = row_of(d_o, b),
                               .d_q = row_of(d_q, b),
                               .d_k = row_of(d_k, b),
                               .d_v = row_of(d_v, b)});
  }
}

}  // namespace

void bind_attention(nb::module_& module) {
  module.def(
      "address",
      [](const ReadArray& array) {
        return reinterpret_cast<uintptr_t>(tensor_of("array", array).raw());
      },
      "array"_a.noconvert(),
      "Where the library reads this array: its own address, since nothing is copied.");
  // noconvert: an array that does not fit is refused rather than copied.
  module.def("attention_forward", &forward, "query"_a.noconvert(), "key"_a.noconvert(),
             "value"_a.noconvert(), "out"_a.noconvert(), "lse"_a.noconvert(), nb::kw_only(),
             "masks"_a, "scale"_a.none(), "bfloat16"_a = false,
             "Fills out [B, S, H, Dv] and lse [B, H, S]; masks holds 1 or B of ColumnMask or\n"
             "MaskPlan. With bfloat16, 16-bit unsigned elements are the bits of bfloat16.");
  module.def("attention_backward", &backward, "d_out"_a.noconvert(), "query"_a.noconvert(),
             "key"_a.noconvert(), "value"_a.noconvert(), "out"_a.noconvert(), "lse"_a.noconvert(),
             "d_query"_a.noconvert(), "d_key"_a.noconvert(), "d_value"_a.noconvert(), nb::kw_only(),
             "masks"_a, "scale"_a.none(), "bfloat16"_a = false,
             "Fills d_query, d_key and d_value from d_out and what attention_forward left in out\n"
             "and lse; the rest as there.");
}

}  // namespace heddle::python
