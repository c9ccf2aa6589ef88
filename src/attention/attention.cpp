#include "heddle/attention/attention.h"

#include <cmath>
#include <string>

#include "heddle/attention/table.h"

namespace heddle::attention {

namespace {

bool is_float(DType dtype) {
  return dtype == DType::f64 || dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
}

void check_tensor(std::string_view name, const Tensor& tensor, const Shape& shape, DType dtype,
                  Device device) {
  HEDDLE_CHECK(tensor.defined(), "attention: ", name, " is not given; expected ", name_of(dtype),
               " ", shape.text());
  HEDDLE_CHECK(tensor.shape() == shape && tensor.dtype() == dtype, "attention: ", name, " is ",
               name_of(tensor.dtype()), " ", tensor.shape().text(), "; expected ", name_of(dtype),
               " ", shape.text());
  HEDDLE_CHECK(tensor.device() == device, "attention: ", name,
               " is on another device than q; expected the same");
  const int last = tensor.rank() - 1;
  HEDDLE_CHECK(tensor.stride(last) == 1 || tensor.dim(last) == 1, "attention: innermost stride of ",
               name, " is ", tensor.stride(last), "; expected 1");
}

void check_options(const Args& args) {
  const int64_t heads = args.q.dim(1);
  if (args.sinks.defined()) {
    check_tensor("sinks", args.sinks, {heads}, DType::f32, args.q.device());
  }
  if (args.alibi_slopes.defined()) {
    check_tensor("alibi_slopes", args.alibi_slopes, {heads}, DType::f32, args.q.device());
  }
  HEDDLE_CHECK(std::isfinite(args.softcap) && args.softcap >= 0, "attention: softcap is ",
               args.softcap, "; expected a finite number, 0 or more");
  HEDDLE_CHECK(!args.scale || std::isfinite(*args.scale), "attention: scale is ",
               args.scale.value_or(0), "; expected a finite number");
}

void check_mask(const Args& args) {
  HEDDLE_CHECK(args.mask != nullptr,
               "attention: mask is not given; expected a ColumnMask. Hint: masks::full(Tq, Tk)");
  const ColumnMask& mask = *args.mask;
  HEDDLE_CHECK(mask.query_length() == args.q.dim(0) && mask.key_length() == args.k.dim(0),
               "attention: mask is ", mask.query_length(), " × ", mask.key_length(),
               "; expected Tq × Tk = ", args.q.dim(0), " × ", args.k.dim(0));
  HEDDLE_CHECK(mask.heads() == 1 || mask.heads() == args.k.dim(1), "attention: mask has ",
               mask.heads(), " heads; expected 1 or K = ", args.k.dim(1));
}

void check(const Args& args) {
  const Tensor &q = args.q, &k = args.k, &v = args.v;
  HEDDLE_CHECK(q.rank() == 3 && k.rank() == 3 && v.rank() == 3, "attention: q is ",
               q.shape().text(), ", k ", k.shape().text(), ", v ", v.shape().text(),
               "; expected [Tq, H, E], [Tk, K, E], [Tk, K, Ev]");
  const int64_t heads = q.dim(1), kv_heads = k.dim(1), head_dim = q.dim(2), value_dim = v.dim(2);
  HEDDLE_CHECK(is_float(q.dtype()), "attention: q is ", name_of(q.dtype()),
               "; expected f64, f32, f16 or bf16");
  HEDDLE_CHECK(
      head_dim >= 1 && head_dim <= kMaxHeadDim && value_dim >= 1 && value_dim <= kMaxHeadDim,
      "attention: head dims are E=", head_dim, ", Ev=", value_dim, "; expected 1 … ", kMaxHeadDim);
  HEDDLE_CHECK(kv_heads >= 1 && heads >= 1 && heads % kv_heads == 0, "attention: q has H=", heads,
               " heads, k has K=", kv_heads, "; expected H to be a multiple of K");
  check_tensor("q", q, q.shape(), q.dtype(), q.device());
  check_tensor("k", k, {k.dim(0), kv_heads, head_dim}, q.dtype(), q.device());
  check_tensor("v", v, {k.dim(0), kv_heads, value_dim}, q.dtype(), q.device());
  check_tensor("out", args.out, {q.dim(0), heads, value_dim}, q.dtype(), q.device());
  check_tensor("lse", args.lse, {heads, q.dim(0)},
               q.dtype() == DType::f64 ? DType::f64 : DType::f32, q.device());
  check_mask(args);
  check_options(args);
}

void check(const Args& args, const Gradients& gradients) {
  const Device device = args.q.device();
  const DType dtype = args.q.dtype();
  check_tensor("d_out", gradients.d_out, args.out.shape(), dtype, device);
  check_tensor("d_q", gradients.d_q, args.q.shape(), dtype, device);
  check_tensor("d_k", gradients.d_k, args.k.shape(), dtype, device);
  check_tensor("d_v", gradients.d_v, args.v.shape(), dtype, device);
  HEDDLE_CHECK(gradients.d_sinks.defined() == args.sinks.defined(), "attention: sinks are ",
               args.sinks.defined() ? "given without d_sinks" : "not given, d_sinks are",
               "; expected both or neither");
  if (args.sinks.defined()) {
    check_tensor("d_sinks", gradients.d_sinks, args.sinks.shape(), DType::f32, device);
  }
}

}  // namespace

const Implementation& implementation_for(const Args& args, Pass pass, std::string_view forced) {
  std::string names;
  for (const Implementation& row : implementations()) {
    if (!forced.empty() && row.name != forced) {
      names += str(names.empty() ? "" : ", ", row.name);
      continue;
    }
    const bool pays = !forced.empty() || row.pays == nullptr;
    if (row.applies(args, pass) && (pays || row.pays(args, pass))) return row;
    HEDDLE_CHECK(forced.empty(), "attention: implementation ", forced,
                 " does not apply to these tensors and options");
  }
  HEDDLE_CHECK(forced.empty(), "attention: found no implementation ", forced, "; expected one of ",
               names);
  HEDDLE_CHECK(
      args.q.device().type == DeviceType::cpu, "attention: no implementation on this GPU ", "for ",
      name_of(args.q.dtype()), ", E=", args.q.dim(2), ", Ev=", args.v.dim(2),
      "; expected bf16 or f16, E = Ev a multiple of 8, rows that begin at multiples of 16 ",
      "bytes. Hint: pad E with zeros and give the scale, or copy to contiguous tensors");
  detail::throw_error(str("attention: no implementation for ", name_of(args.q.dtype())));
}

double scale_of(const Args& args) {
  return args.scale.value_or(1.0 / std::sqrt(static_cast<double>(args.q.dim(2))));
}

void forward(const Args& args, std::string_view implementation) {
  check(args);
  implementation_for(args, Pass::forward, implementation).forward(args);
}

void backward(const Args& args, const Gradients& gradients, std::string_view implementation) {
  check(args);
  check(args, gradients);
  implementation_for(args, Pass::backward, implementation).backward(args, gradients);
}

}  // namespace heddle::attention
