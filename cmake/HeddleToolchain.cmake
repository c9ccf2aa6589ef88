# Compiler, linker and warning settings for every target of Heddle.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Release, RelWithDebInfo or Debug" FORCE)
endif()

# heddle_precompile(target [header...]): parses the given headers, and those of the standard library
# that most files include, once for the whole target. A file with flags of its own cannot take part.
# The preset release goes without, which shows that each file includes what it uses.
function(heddle_precompile target)
  target_precompile_headers(${target} PRIVATE <algorithm> <cmath> <cstdint> <cstring> <functional>
    <limits> <map> <memory> <optional> <span> <string> <string_view> <utility> <vector> ${ARGN})
  get_target_property(files ${target} SOURCES)
  foreach(file ${files})
    get_source_file_property(options ${file} TARGET_DIRECTORY ${target} COMPILE_OPTIONS)
    if(options)
      set_property(SOURCE ${file} TARGET_DIRECTORY ${target} PROPERTY SKIP_PRECOMPILE_HEADERS ON)
      if(HEDDLE_SANITIZE) # kernels: without optimisation their tests would take minutes
        set_property(SOURCE ${file} TARGET_DIRECTORY ${target} APPEND PROPERTY COMPILE_OPTIONS -O2)
      endif()
    endif()
  endforeach()
endfunction()

if(NOT PROJECT_IS_TOP_LEVEL)
  return() # the including project chooses its own output folders, linker and flags
endif()

set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
# A prefix that the loader does not search still works: the binary finds the library beside itself.
set(CMAKE_INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")

find_program(HEDDLE_CCACHE ccache)
mark_as_advanced(HEDDLE_CCACHE)
if(HEDDLE_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${HEDDLE_CCACHE})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${HEDDLE_CCACHE})
endif()

find_program(HEDDLE_LLD ld.lld)
mark_as_advanced(HEDDLE_LLD)
if(HEDDLE_LLD)
  add_link_options($<$<LINK_LANGUAGE:CXX>:-fuse-ld=lld>)
endif()

add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-Wall$<SEMICOLON>-Wextra$<SEMICOLON>-Wpedantic$<SEMICOLON>-Wshadow>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC bugs 105329 and 105651: std::string in line at -O2 and above seems to run out of bounds.
  add_compile_options(
    $<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict$<SEMICOLON>-Wno-array-bounds$<SEMICOLON>-Wno-stringop-overflow>)
endif()
if(HEDDLE_WERROR)
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-Werror>)
endif()
if(HEDDLE_NATIVE)
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-march=native>)
endif()

if(HEDDLE_SANITIZE)
  set(flags -fsanitize=${HEDDLE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  if(HEDDLE_SANITIZE MATCHES "unsigned-integer-overflow")
    list(APPEND flags -fsanitize-ignorelist=${PROJECT_SOURCE_DIR}/fuzz/sanitize_ignore.txt)
  endif()
  add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:${flags}>")
  add_link_options(-fsanitize=${HEDDLE_SANITIZE})
  # Not _GLIBCXX_DEBUG: it changes the layout of containers that cross into the installed GoogleTest.
  add_compile_definitions(_GLIBCXX_ASSERTIONS)
endif()
if(HEDDLE_LIBFUZZER)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "HEDDLE_LIBFUZZER needs clang; found ${CMAKE_CXX_COMPILER_ID}. Use --preset fuzz.")
  endif()
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fsanitize=fuzzer-no-link>)
endif()
