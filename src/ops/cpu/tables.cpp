#include "heddle/ops/cpu/tables.h"

#include "heddle/base/error.h"

namespace heddle::ops::cpu {

const Kernels& kernels_for(std::string_view name) {
  std::string known;
  for (const Kernels* kernels : all_kernels()) {
    if (name.empty() ? kernels->supported() : name == kernels->name) {
      HEDDLE_CHECK(kernels->supported(), "ops: this processor cannot run \"", name, "\"");
      return *kernels;
    }
    known += str(known.empty() ? "" : ", ", kernels->name);
  }
  detail::throw_error(str("ops: no kernels named \"", name, "\"; expected one of ", known));
}

}  // namespace heddle::ops::cpu
