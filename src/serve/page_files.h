// The files of the page and the description of the interface, compiled in.
#pragma once

#include <string_view>

namespace heddle::serve {

struct PageFile {
  std::string_view path;  ///< "/page.css"; "/" for index.html
  std::string_view type;
  std::string_view content;
};

/// "/", its files, "/openapi.json"; null for any other path.
const PageFile* find_page_file(std::string_view path);

}  // namespace heddle::serve
