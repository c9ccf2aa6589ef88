# cmake -DOUTPUT=page_files.cpp "-DFILES=index.html;page.css" -P HeddleEmbed.cmake
# Writes the files as arrays of bytes, and the table that src/serve/page_files.h promises.
set(arrays "")
set(rows "")
set(number 0)
foreach(file IN LISTS FILES)
  file(READ ${file} bytes HEX)
  string(REGEX REPLACE "(..)" "'\\\\x\\1'," bytes "${bytes}")
  string(REGEX REPLACE "(([^,]*,){16})" "\\1\n" bytes "${bytes}")
  string(APPEND arrays "constexpr char kFile${number}[] = {\n${bytes}};\n")
  get_filename_component(name ${file} NAME)
  get_filename_component(suffix ${file} LAST_EXT)
  if(suffix STREQUAL ".html")
    set(type "text/html; charset=utf-8")
  elseif(suffix STREQUAL ".css")
    set(type "text/css; charset=utf-8")
  elseif(suffix STREQUAL ".js")
    set(type "text/javascript; charset=utf-8")
  elseif(suffix STREQUAL ".svg")
    set(type "image/svg+xml")
  else()
    set(type "application/json")
  endif()
  if(name STREQUAL "index.html")
    set(name "")
  endif()
  string(APPEND rows "    {\"/${name}\", \"${type}\", {kFile${number}, sizeof kFile${number}}},\n")
  math(EXPR number "${number} + 1")
endforeach()
file(WRITE ${OUTPUT} "// Written by cmake/HeddleEmbed.cmake.
#include \"heddle/serve/page_files.h\"

namespace heddle::serve {

namespace {

${arrays}
constexpr PageFile kFiles[] = {
${rows}};

}  // namespace

const PageFile* find_page_file(std::string_view path) {
  for (const PageFile& file : kFiles) {
    if (file.path == path) return &file;
  }
  return nullptr;
}

}  // namespace heddle::serve
")
