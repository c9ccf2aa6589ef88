#include "heddle/model/masters.h"

#include <algorithm>
#include <utility>

namespace heddle::model {

Tensor own_copy(const Parameter& parameter) {
  const Tensor from = to_f32(parameter);
  Tensor to = Tensor::empty(from.shape(), DType::f32);
  std::copy_n(from.data<float>(), from.elements(), to.data<float>());
  return to;
}

ModelFiles masters(ModelFiles files, const Adapter* adapter) {
  check_parameters(files.config, files.parameters);
  Parameters own;
  for (const ParameterShape& each : parameters_of(files.config)) {
    const Parameter& given = files.parameters.require(each.name, each.shape);
    const bool frozen = adapter != nullptr && !adapter->parameters.has(each.name);
    own.add(each.name,
            {.values = frozen               ? to_f32(given)
                       : adapter != nullptr ? own_copy(*adapter->parameters.find(each.name))
                                            : own_copy(given)});
    files.parameters.remove(each.name);  // one copy at a time
  }
  files.parameters = std::move(own);
  return files;
}

}  // namespace heddle::model
