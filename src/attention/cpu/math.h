// Elementary functions on vectors. The coefficients are minimax fits in the relative error.
#pragma once

namespace heddle::attention::cpu {

/// 2^x within 1.5 ulp for x in [−126, 127]; exactly 1 at 0, exactly 0 below −127, NaN at NaN.
template <typename V>
inline typename V::Vec exp2(typename V::Vec x) {
  using Vec = typename V::Vec;
  // Adding 1.5 · 2^23 rounds to an integer; 127 more leaves the biased exponent in the low bits.
  const Vec shift = V::set(12582912.0f + 127.0f);
  x = V::max(V::set(-127.0f), x);
  const Vec shifted = x + shift;
  const Vec f = x - (shifted - shift);  // in [−0.5, 0.5]
  Vec p = V::set(1.55003910e-4f);
  p = V::fma(p, f, V::set(1.33973746e-3f));
  p = V::fma(p, f, V::set(9.61795375e-3f));
  p = V::fma(p, f, V::set(5.55033679e-2f));
  p = V::fma(p, f, V::set(2.40226514e-1f));
  p = V::fma(p, f, V::set(6.93147200e-1f));
  p = V::fma(p, f, V::set(1.0f));
  return p * V::exponent(shifted);
}

/// tanh: an odd polynomial near 0, where 1 − 2 / (e^2x + 1) would lose digits, else that.
template <typename V>
inline typename V::Vec tanh(typename V::Vec x) {
  using Vec = typename V::Vec;
  const Vec one = V::set(1.0f), two = V::set(2.0f);
  const Vec size = V::abs(x);
  const Vec u = x * x;
  Vec p = V::set(-5.70498696e-3f);
  p = V::fma(p, u, V::set(2.06390872e-2f));
  p = V::fma(p, u, V::set(-5.37397151e-2f));
  p = V::fma(p, u, V::set(1.33314422e-1f));
  p = V::fma(p, u, V::set(-3.33332819e-1f));
  const Vec small = V::fma(p * u, x, x);
  const Vec bounded = V::select_below(V::set(10.0f), size, V::set(10.0f), size);
  const Vec large = one - two / (exp2<V>(bounded * V::set(2.88539008f)) + one);
  const Vec signed_large = V::select_below(x, V::set(0.0f), -large, large);
  return V::select_below(size, V::set(0.625f), small, signed_large);
}

}  // namespace heddle::attention::cpu
