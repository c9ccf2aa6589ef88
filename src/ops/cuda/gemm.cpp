#include "heddle/ops/cuda/gemm.h"

#include <cublasLt.h>
#include <dlfcn.h>

#include <array>
#include <bit>
#include <map>

#include "heddle/base/error.h"

namespace heddle::ops::cuda {

namespace {

/// cuBLASLt's functions, found at run time.
struct Library {
  Library() {
    for (const char* name : {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"}) {
      if (handle == nullptr) handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    }
    HEDDLE_CHECK(handle != nullptr,
                 "CUDA: found no libcublasLt.so.13. Hint: install the CUDA toolkit's libcublas, or "
                 "add its folder to LD_LIBRARY_PATH; or train with device: cpu");
    find(create, "cublasLtCreate");
    find(destroy, "cublasLtDestroy");
    find(desc_create, "cublasLtMatmulDescCreate");
    find(desc_destroy, "cublasLtMatmulDescDestroy");
    find(desc_set, "cublasLtMatmulDescSetAttribute");
    find(layout_create, "cublasLtMatrixLayoutCreate");
    find(layout_destroy, "cublasLtMatrixLayoutDestroy");
    find(preference_create, "cublasLtMatmulPreferenceCreate");
    find(preference_destroy, "cublasLtMatmulPreferenceDestroy");
    find(preference_set, "cublasLtMatmulPreferenceSetAttribute");
    find(heuristic, "cublasLtMatmulAlgoGetHeuristic");
    find(matmul, "cublasLtMatmul");
    find(text, "cublasLtGetStatusString");
  }

  template <typename F>
  void find(F& function, const char* name) {
    function = std::bit_cast<F>(dlsym(handle, name));
    HEDDLE_CHECK(function != nullptr, "CUDA: libcublasLt has no ", name,
                 "; expected version 12 up");
  }

  void check(cublasStatus_t status, const char* what) const {
    HEDDLE_CHECK(status == CUBLAS_STATUS_SUCCESS, "CUDA: ", what, " failed with ", text(status));
  }

  void* handle = nullptr;
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtDestroy) destroy;
  decltype(&cublasLtMatmulDescCreate) desc_create;
  decltype(&cublasLtMatmulDescDestroy) desc_destroy;
  decltype(&cublasLtMatmulDescSetAttribute) desc_set;
  decltype(&cublasLtMatrixLayoutCreate) layout_create;
  decltype(&cublasLtMatrixLayoutDestroy) layout_destroy;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic;
  decltype(&cublasLtMatmul) matmul;
  decltype(&cublasLtGetStatusString) text;
};

const Library& library() {
  static const Library loaded;
  return loaded;
}

constexpr size_t kWorkspace = size_t{32} << 20;  // bytes, NVIDIA's advice for Hopper
constexpr uint32_t kAlignment = 16;              // bytes, of every operand

/// A matrix [rows, columns] row by row, which is [columns, rows] column by column.
class Layout {
 public:
  Layout(cudaDataType type, int64_t rows, int64_t columns, int64_t stride) {
    library().check(library().layout_create(&layout_, type, static_cast<uint64_t>(columns),
                                            static_cast<uint64_t>(rows), stride),
                    "cublasLtMatrixLayoutCreate");
  }
  ~Layout() { library().layout_destroy(layout_); }
  Layout(const Layout&) = delete;
  Layout& operator=(const Layout&) = delete;
  operator cublasLtMatrixLayout_t() const { return layout_; }

 private:
  cublasLtMatrixLayout_t layout_ = nullptr;
};

Layout layout_of(const Factor& factor, cudaDataType type, int64_t rows, int64_t columns) {
  return factor.transposed ? Layout(type, columns, rows, factor.stride)
                           : Layout(type, rows, columns, factor.stride);
}

class Description {
 public:
  Description(const Product& product, cudaDataType type) {
    const Library& lt = library();
    lt.check(lt.desc_create(&desc_, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
    // Column by column the product reads cᵀ = bᵀ · aᵀ.
    set(CUBLASLT_MATMUL_DESC_TRANSA, product.b.transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, product.a.transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
    cublasLtEpilogue_t epilogue = product.relu ? CUBLASLT_EPILOGUE_RELU : CUBLASLT_EPILOGUE_DEFAULT;
    if (product.bias != nullptr) {
      epilogue = product.relu ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_BIAS;
      const void* bias = product.bias;
      set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
      set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, type);
    }
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
  }
  ~Description() { library().desc_destroy(desc_); }
  Description(const Description&) = delete;
  Description& operator=(const Description&) = delete;
  operator cublasLtMatmulDesc_t() const { return desc_; }

 private:
  template <typename T>
  void set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
    library().check(library().desc_set(desc_, attribute, &value, sizeof value),
                    "cublasLtMatmulDescSetAttribute");
  }

  cublasLtMatmulDesc_t desc_ = nullptr;
};

/// What a plan depends on. The number of tokens counts by its class only: batches differ in it.
using Key = std::array<int64_t, 8>;

int64_t size_class(int64_t tokens) {
  const int64_t step = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(tokens))) / 4;
  return step == 0 ? tokens : (tokens + step - 1) / step * step;
}

}  // namespace

struct Gemm::State {
  State(heddle::cuda::Context& given, Half of)
      : half(of == Half::bf16 ? CUDA_R_16BF : CUDA_R_16F),
        context(given),
        workspace(Tensor::empty({static_cast<int64_t>(kWorkspace)}, DType::i8, given.memory())) {
    library().check(library().create(&handle), "cublasLtCreate");
  }
  ~State() { library().destroy(handle); }

  const cublasLtMatmulAlgo_t& plan(const Product& product, bool exact);
  cublasStatus_t run(const Product& product, const cublasLtMatmulAlgo_t& algorithm);

  cudaDataType type_of_result(const Product& product) const {
    return product.single ? CUDA_R_32F : half;
  }

  const cudaDataType half;
  heddle::cuda::Context& context;
  Tensor workspace;
  cublasLtHandle_t handle = nullptr;
  std::map<Key, cublasLtMatmulAlgo_t> plans;
};

const cublasLtMatmulAlgo_t& Gemm::State::plan(const Product& product, bool exact) {
  const bool sums_tokens = product.a.transposed;  // a gradient of weights
  Product shape = product;
  if (!exact) (sums_tokens ? shape.k : shape.m) = size_class(sums_tokens ? product.k : product.m);
  const int64_t flags = int64_t{product.a.transposed} | int64_t{product.b.transposed} << 1 |
                        int64_t{product.single} << 2 | int64_t{product.relu} << 3 |
                        int64_t{product.bias != nullptr} << 4 | int64_t{product.beta != 0} << 5;
  const Key key{shape.m,          shape.n,
                shape.k,          flags,
                product.a.stride, product.b.stride,
                product.c_stride, product.addend != nullptr ? product.addend_stride : 0};
  const auto found = plans.find(key);
  if (found != plans.end()) return found->second;

  const Library& lt = library();
  const Layout a = layout_of(shape.a, half, shape.m, shape.k),
               b = layout_of(shape.b, half, shape.k, shape.n),
               c(type_of_result(shape), shape.m, shape.n,
                 shape.addend != nullptr ? shape.addend_stride : shape.c_stride),
               d(type_of_result(shape), shape.m, shape.n, shape.c_stride);
  cublasLtMatmulPreference_t preference = nullptr;
  lt.check(lt.preference_create(&preference), "cublasLtMatmulPreferenceCreate");
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    lt.check(lt.preference_set(preference, attribute, &value, sizeof value),
             "cublasLtMatmulPreferenceSetAttribute");
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspace);
  for (const auto attribute :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    set(attribute, kAlignment);
  }
  cublasLtMatmulHeuristicResult_t result{};
  int count = 0;
  const cublasStatus_t status =
      lt.heuristic(handle, Description(shape, half), b, a, c, d, preference, 1, &result, &count);
  lt.preference_destroy(preference);
  HEDDLE_CHECK(status == CUBLAS_STATUS_SUCCESS && count > 0, "CUDA: cuBLASLt has no product [",
               product.m, ", ", product.k, "] · [", product.k, ", ", product.n, "] in ",
               half == CUDA_R_16BF ? "bf16" : "f16", status == CUBLAS_STATUS_SUCCESS ? "" : ": ",
               status == CUBLAS_STATUS_SUCCESS ? "" : lt.text(status));
  return plans.emplace(key, result.algo).first->second;
}

cublasStatus_t Gemm::State::run(const Product& product, const cublasLtMatmulAlgo_t& algorithm) {
  const bool own = product.addend == nullptr;
  const Layout a = layout_of(product.a, half, product.m, product.k),
               b = layout_of(product.b, half, product.k, product.n),
               c(type_of_result(product), product.m, product.n,
                 own ? product.c_stride : product.addend_stride),
               d(type_of_result(product), product.m, product.n, product.c_stride);
  return library().matmul(handle, Description(product, half), &product.alpha, product.b.data, b,
                          product.a.data, a, &product.beta, own ? product.c : product.addend, c,
                          product.c, d, &algorithm, workspace.raw(), kWorkspace, context.stream());
}

Gemm::Gemm(heddle::cuda::Context& context, Half of)
    : state_(std::make_unique<State>(context, of)) {}
Gemm::~Gemm() = default;

void Gemm::multiply(const Product& product) {
  if (product.m == 0 || product.n == 0) return;
  HEDDLE_CHECK(product.k > 0, "CUDA: a product over no elements");
  cublasStatus_t status = state_->run(product, state_->plan(product, false));
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) {
    status = state_->run(product, state_->plan(product, true));  // not for all of its class
  }
  library().check(status, "cublasLtMatmul");
}

}  // namespace heddle::ops::cuda
