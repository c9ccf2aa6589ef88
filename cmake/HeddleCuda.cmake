# Decides whether CUDA kernels are built, and gives each GPU family its own flags.
#
# Sets HEDDLE_CUDA_FOUND. A module then picks its sources:
#   if(HEDDLE_CUDA_FOUND)
#     heddle_cuda_objects(attention_sm80 ARCH 80 cuda/sm80/forward_128.cu)
#     heddle_cuda_objects(attention_sm90 ARCH 90a cuda/sm90/forward_128.cu)
#   else()
#     target_sources(heddle PRIVATE no_cuda.cpp)
#   endif()

set(HEDDLE_CUDA_FOUND OFF)

# Looking for nvcc takes seconds, so it is done only when there is a kernel to compile.
file(GLOB_RECURSE cuda_sources LIST_DIRECTORIES OFF ${PROJECT_SOURCE_DIR}/src/*.cu)
if(HEDDLE_CUDA STREQUAL "AUTO")
  if(cuda_sources)
    include(CheckLanguage)
    check_language(CUDA)
    if(CMAKE_CUDA_COMPILER)
      set(HEDDLE_CUDA_FOUND ON)
    endif()
  endif()
elseif(HEDDLE_CUDA)
  set(HEDDLE_CUDA_FOUND ON)
endif()
message(STATUS "CUDA kernels: ${HEDDLE_CUDA_FOUND} (HEDDLE_CUDA=${HEDDLE_CUDA})")

if(HEDDLE_CUDA_FOUND)
  set(CMAKE_CUDA_ARCHITECTURES OFF) # heddle_cuda_objects gives each family its own
  enable_language(CUDA)
  # CMake 3.25 does not know nvcc's C++20.
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  set(CMAKE_CUDA_EXTENSIONS OFF)
  find_package(CUDAToolkit REQUIRED)
  if(NOT HEDDLE_ATTENTION_ONLY)
    find_path(HEDDLE_CUBLASLT_INCLUDE cublasLt.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
    if(NOT HEDDLE_CUBLASLT_INCLUDE)
      message(FATAL_ERROR "nvcc is here, but not cublasLt.h, which training on a GPU needs: install "
        "the toolkit's libcublas-dev, or set HEDDLE_CUDA=OFF")
    endif()
  endif()
  cmake_host_system_information(RESULT cuda_jobs QUERY NUMBER_OF_LOGICAL_CORES)
  if(cuda_jobs LESS 16)
    set(cuda_jobs 2) # kernels need much memory each
  endif()
  set_property(GLOBAL APPEND PROPERTY JOB_POOLS cuda=${cuda_jobs})
endif()

# heddle_cuda_objects(name ARCH <80|90a|...> file.cu ...): compiles the files once, for one GPU
# family, and links them into the library.
function(heddle_cuda_objects name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "ARCH" "")
  if(NOT arg_ARCH OR NOT arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "heddle_cuda_objects(${name}): expected ARCH <number> and at least one file")
  endif()
  add_library(${name} OBJECT ${arg_UNPARSED_ARGUMENTS})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/include)
  # A plain family (80) also keeps its PTX, so newer GPUs can run it; 90a code runs on 9.0 alone.
  if(arg_ARCH MATCHES "a$")
    set(code sm_${arg_ARCH})
  else()
    set(code [compute_${arg_ARCH},sm_${arg_ARCH}])
  endif()
  target_compile_options(${name} PRIVATE
    -gencode=arch=compute_${arg_ARCH},code=${code}
    --expt-relaxed-constexpr
    -Xcompiler=-Wall,-Wextra
    $<$<BOOL:${HEDDLE_WERROR}>:-Werror=all-warnings>
    $<$<BOOL:${HEDDLE_WERROR}>:-Xcompiler=-Werror>)
  set_target_properties(${name} PROPERTIES JOB_POOL_COMPILE cuda)
  target_link_libraries(heddle PRIVATE ${name} CUDA::cudart_static)
endfunction()
