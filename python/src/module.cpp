// The extension module heddle._core: what the Python package takes from the C++ library.
#include <nanobind/nanobind.h>

#include <exception>

#include "bind.h"
#include "heddle/base/error.h"

NB_MODULE(_core, module) {
  nanobind::register_exception_translator([](const std::exception_ptr& error, void*) {
    try {
      std::rethrow_exception(error);
    } catch (const heddle::Error& e) {
      PyErr_SetString(PyExc_ValueError, e.what());
    }
  });
  heddle::python::bind_masks(module);
  heddle::python::bind_builders(module);
  heddle::python::bind_pictures(module);
  heddle::python::bind_threads(module);
  heddle::python::bind_attention(module);
  heddle::python::bind_cuda(module);
  heddle::python::bind_translator(module);
}
