// The parts of the extension module heddle._core; each adds its names to the module.
#pragma once

#include <nanobind/nanobind.h>

namespace heddle::python {

void bind_masks(nanobind::module_& module);       ///< ColumnMask, MaskPlan
void bind_builders(nanobind::module_& module);    ///< one function a kind of mask, imports, algebra
void bind_pictures(nanobind::module_& module);    ///< pictures of masks
void bind_threads(nanobind::module_& module);     ///< set_num_threads, get_num_threads
void bind_attention(nanobind::module_& module);   ///< attention_forward, attention_backward
void bind_cuda(nanobind::module_& module);        ///< the same on a GPU, and its plans
void bind_translator(nanobind::module_& module);  ///< TranslatorCore, with models and text

}  // namespace heddle::python
