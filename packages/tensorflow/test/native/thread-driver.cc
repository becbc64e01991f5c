// Runs the operations that use threads outside TensorFlow, for ThreadSanitizer,
// which cannot run inside Node. TensorFlow's C functions are stubs:
// registration only fills the list of kernels, and inputs and outputs are plain
// memory.
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <string>

#include "runtime/operation.h"
#include "runtime/parallel.h"

extern "C" {
TF_Status* TF_NewStatus() { return nullptr; }
void TF_DeleteStatus(TF_Status*) {}
void TF_SetStatus(TF_Status*, TF_Code, const char*) {}
TF_Code TF_GetCode(const TF_Status*) { return TF_OK; }
const char* TF_Message(const TF_Status*) { return ""; }
TF_KernelBuilder* TF_NewKernelBuilder(const char*, const char*, void* (*)(TF_OpKernelConstruction*),
                                      void (*)(void*, TF_OpKernelContext*), void (*)(void*)) {
  return nullptr;
}
void TF_RegisterKernelBuilder(const char*, TF_KernelBuilder*, TF_Status*) {}
int TF_NumInputs(TF_OpKernelContext*) { return 0; }
int TF_NumOutputs(TF_OpKernelContext*) { return 0; }
void TF_GetInput(TF_OpKernelContext*, int, TF_Tensor**, TF_Status*) {}
void TF_SetOutput(TF_OpKernelContext*, int, const TF_Tensor*, TF_Status*) {}
void TF_OpKernelContext_Failure(TF_OpKernelContext*, TF_Status*) {}
TF_Tensor* TF_AllocateOutput(TF_OpKernelContext*, int, TF_DataType, const int64_t*, int, size_t, TF_Status*) {
  return nullptr;
}
TF_Tensor* TF_AllocateTemp(TF_OpKernelContext*, TF_DataType, const int64_t*, int, TF_AllocatorAttributes*, TF_Status*) {
  return nullptr;
}
void* TF_TensorData(const TF_Tensor*) { return nullptr; }
void TF_DeleteTensor(TF_Tensor*) {}
int TF_NumDims(const TF_Tensor*) { return 0; }
int64_t TF_Dim(const TF_Tensor*, int) { return 0; }
}

namespace wpo {
void register_gemm();
void register_few_rows();
void register_attention_forward();
void register_attention_backward();
void register_decode_attention();
void register_norm();
void register_rope();
void register_geglu();
void register_head();
void register_rows();
void register_optimizer();

namespace {

struct Memory : OutputAllocator {
  float* allocate(int, const Shape& shape) override {
    outputs.push_back(std::make_unique<float[]>(static_cast<size_t>(element_count(shape))));
    return outputs.back().get();
  }
  std::vector<std::unique_ptr<float[]>> outputs;
};

struct Tensor {
  Shape shape;
  std::vector<float> values;
};

Tensor floats(const Shape& shape) {
  Tensor tensor = {shape, std::vector<float>(static_cast<size_t>(element_count(shape)))};
  for (size_t i = 0; i < tensor.values.size(); i++)
    tensor.values[i] = static_cast<float>(i * 7919 % 2003) / 1001.5f - 1;
  return tensor;
}

Tensor ints(const std::vector<int32_t>& values) {
  Tensor tensor = {{static_cast<int64_t>(values.size())}, std::vector<float>(values.size())};
  std::memcpy(tensor.values.data(), values.data(), values.size() * sizeof(int32_t));
  return tensor;
}

Tensor params(std::vector<float> values) { return {{static_cast<int64_t>(values.size())}, std::move(values)}; }

void run(const char* name, std::vector<Tensor> inputs) {
  for (const Kernel<OpContext>& kernel : kernels<OpContext>()) {
    if (std::strcmp(kernel.signature->name, name) != 0) continue;
    std::vector<TensorView> views;
    for (Tensor& input : inputs) views.push_back({input.values.data(), input.shape});
    Memory memory;
    OpContext ctx(memory, std::move(views));
    kernel.compute(ctx);
    return;
  }
  fail(name, " is not registered");
}

void run_all() {
  run("WpoProduct", {floats({70, 1200}), floats({1200, 90})});
  run("WpoProductNT", {floats({300, 600}), floats({150, 600})});
  run("WpoProductTN", {floats({64, 300}), floats({64, 200})});
  run("WpoProductTT", {floats({300, 64}), floats({100, 300})});
  run("WpoGatedProduct", {floats({70, 130}), floats({70, 130}), floats({45, 130})});
  run("WpoGatedProductGrad", {floats({70, 45}), floats({70, 130}), floats({70, 130})});
  run("WpoLinearRows", {floats({13, 133}), floats({640, 133})});
  run("WpoLinearRowsToHeads", {floats({13, 133}), floats({640, 133}), params({4})});
  run("WpoLinearRowsFromHeads", {floats({4, 16, 13}), floats({640, 64})});
  const int32_t prompt = 300, answer = 60, tokens = prompt + 2 * answer, after = prompt + answer;
  for (const float cap : {0.0f, 50.0f})
    for (const int32_t window : {17, 1 << 30}) {
      const Tensor blocks =
          ints({0,      prompt, 0,     window, 1,      0,      prompt, prompt, answer, 0,     window, 1,
                prompt, answer, after, answer, prompt, window, 2,      0,      prompt, after, answer});
      const Tensor q = floats({4, 16, tokens}), k = floats({2, 16, tokens}), scale = params({0.1f, cap});
      run("WpoAttention", {q, k, k, blocks, scale});
      run("WpoAttentionGrad", {q, q, k, k, blocks, scale});
      run("WpoDecodeAttention",
          {floats({4, 64, 3}), floats({2, 64, 600}), floats({2, 64, 600}), ints({0, 200, 200, 100, 250, 350}), scale});
    }
  const Tensor x = floats({170, 650}), w = floats({650});
  run("WpoRmsNorm", {x, w, params({1e-6f, 1}), x});
  run("WpoRmsNormGrad", {x, x, floats({170, 1}), w});
  run("WpoRope", {floats({8, 16, 400}), floats({16, 400}), floats({16, 400}), params({1})});
  run("WpoGeglu", {x, x});
  run("WpoGegluGrad", {x, x, x});
  run("WpoAnswerTerms", {floats({9, 5003}), ints({0, 5, 5002, 7, 8, 9, 10, 11, 12}), params({30, 1})});
  run("WpoCapLogits", {floats({9, 5003}), params({30})});
  run("WpoAdd", {x, x});
  run("WpoScaledRows", {x, ints(std::vector<int32_t>(100, 3)), params({2})});
  run("WpoSetColumns", {floats({20, 30, 60}), ints(std::vector<int32_t>(40, 3)), floats({20, 30, 40})});
  run("WpoSquareSums", {x, w});
  run("WpoAdamW", {params({1, 0.9f, 0.99f, 1e-8f, 0.1f, 1, 1}), x, x, x, x});
}

// A loop with a body that throws on several threads rethrows one of the exceptions, and the next loop runs normally.
void run_failing_loop() {
  bool caught = false;
  try {
    parallel(1000, 1 << 20, [](int64_t begin, int64_t, int) { require(begin % 3 != 0, "index ", begin); });
  } catch (const std::invalid_argument&) {
    caught = true;
  }
  require(caught, "expected the exception of a worker thread");
}

}  // namespace
}  // namespace wpo

int main() {
  wpo::register_gemm();
  wpo::register_few_rows();
  wpo::register_attention_forward();
  wpo::register_attention_backward();
  wpo::register_decode_attention();
  wpo::register_norm();
  wpo::register_rope();
  wpo::register_geglu();
  wpo::register_head();
  wpo::register_rows();
  wpo::register_optimizer();
  for (int round = 0; round < 3; round++) {
    wpo::run_all();
    wpo::run_failing_loop();
  }
  std::printf("%d threads\n", wpo::threads());
}
