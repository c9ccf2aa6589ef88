// Pictures of masks in Python: text, SVG (which notebooks show by themselves) and PNG.
#include <nanobind/nanobind.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/string.h>

#include <filesystem>
#include <string>

#include "bind.h"
#include "heddle/mask/picture.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace heddle::python {

namespace {

Picture picture_of(const ColumnMask& mask, const std::string& title, int32_t head) {
  Picture picture;
  picture.panels.push_back({.mask = &mask, .head = head, .title = title});
  return picture;
}

}  // namespace

void bind_pictures(nb::module_& module) {
  const nb::object type = module.attr("ColumnMask");
  const auto method = [&](const char* name, auto function, const auto&... extra) {
    nb::cpp_function_def(function, nb::scope(type), nb::name(name), nb::is_method(), extra...);
  };
  method(
      "picture",
      [](const ColumnMask& mask, int32_t columns, int32_t head) {
        return picture_text(mask, {.columns = columns, .head = head});
      },
      "columns"_a = 80, "head"_a = 0,
      "The mask in lines of Unicode blocks, at most `columns` wide.");
  method("_repr_svg_", [](const ColumnMask& mask) { return svg_text(picture_of(mask, "", 0)); });
  method(
      "save_svg",
      [](const ColumnMask& mask, const std::filesystem::path& path, const std::string& title,
         int32_t head) { write_svg(path.string(), picture_of(mask, title, head)); },
      "path"_a, "title"_a = "", "head"_a = 0, "Writes the picture of one head as an SVG file.");
  method(
      "save_png",
      [](const ColumnMask& mask, const std::filesystem::path& path, const std::string& title,
         int32_t head) { write_png(path.string(), picture_of(mask, title, head)); },
      "path"_a, "title"_a = "", "head"_a = 0, "Writes the picture of one head as a PNG file.");
}

}  // namespace heddle::python
