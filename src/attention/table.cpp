#include "heddle/attention/table.h"

#include "heddle/attention/reference.h"

namespace heddle::attention {

namespace {

constexpr Implementation kTable[] = {
    {"reference", reference::applies, reference::forward, reference::backward},
};

}  // namespace

std::span<const Implementation> implementations() { return kTable; }

}  // namespace heddle::attention
