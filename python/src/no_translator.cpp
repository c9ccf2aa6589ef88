// A build of masks and attention alone has no translator; heddle.Translator says so when it is
// made.
#include "bind.h"

namespace heddle::python {

void bind_translator(nanobind::module_&) {}

}  // namespace heddle::python
