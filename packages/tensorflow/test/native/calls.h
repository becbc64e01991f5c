// Calls of the operations outside TensorFlow. TensorFlow's C functions are stubs: registration only fills the list of
// kernels, and inputs and outputs are plain memory.
#pragma once
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
TF_Tensor* TF_NewTensor(TF_DataType, const int64_t*, int, void*, size_t, void (*)(void*, size_t, void*), void*) {
  return nullptr;
}
void* TF_TensorData(const TF_Tensor*) { return nullptr; }
void TF_DeleteTensor(TF_Tensor*) {}
TF_DataType TF_TensorType(const TF_Tensor*) { return TF_FLOAT; }
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
void register_dropout();
void register_head();
void register_rows();
void register_optimizer();
void register_adamw_8bit();
void register_adafactor();

inline void register_operations() {
  register_gemm();
  register_few_rows();
  register_attention_forward();
  register_attention_backward();
  register_decode_attention();
  register_norm();
  register_rope();
  register_geglu();
  register_dropout();
  register_head();
  register_rows();
  register_optimizer();
  register_adamw_8bit();
  register_adafactor();
}

struct Memory : OutputAllocator {
  TensorView allocate(int, const Shape& shape) override {
    outputs.push_back(std::make_unique<float[]>(static_cast<size_t>(element_count(shape))));
    return {outputs.back().get(), shape};
  }
  std::vector<std::unique_ptr<float[]>> outputs;
};

// A tensor whose values are in the memory of enough floats.
struct Tensor {
  Shape shape;
  std::vector<float> values;
  Type type = Type::kFloat32;
};

inline Tensor floats(const Shape& shape) {
  Tensor tensor = {shape, std::vector<float>(static_cast<size_t>(element_count(shape)))};
  for (size_t i = 0; i < tensor.values.size(); i++)
    tensor.values[i] = static_cast<float>(i * 7919 % 2003) / 1001.5f - 1;
  return tensor;
}

inline Tensor bfloat16s(const Shape& shape) {
  const Tensor wide = floats(shape);
  std::vector<Bf16> narrow(wide.values.size() + wide.values.size() % 2);
  for (size_t i = 0; i < wide.values.size(); i++) narrow[i] = round_to_bf16(wide.values[i]);
  Tensor tensor = {shape, std::vector<float>(narrow.size() / 2), Type::kBfloat16};
  std::memcpy(tensor.values.data(), narrow.data(), narrow.size() * sizeof(Bf16));
  return tensor;
}

// Low bits or codes.
inline Tensor zeros(const Shape& shape, Type type) {
  const int64_t bytes = element_count(shape) * size_of(type);
  return {shape, std::vector<float>(static_cast<size_t>((bytes + 3) / 4)), type};
}

inline Tensor ints(const std::vector<int32_t>& values) {
  Tensor tensor = {{static_cast<int64_t>(values.size())}, std::vector<float>(values.size())};
  std::memcpy(tensor.values.data(), values.data(), values.size() * sizeof(int32_t));
  return tensor;
}

inline Tensor params(std::vector<float> values) { return {{static_cast<int64_t>(values.size())}, std::move(values)}; }

struct Call {
  const char* name;
  std::vector<Tensor> inputs;
};

inline void run(Call& call) {
  for (const Kernel<OpContext>& kernel : kernels<OpContext>()) {
    if (std::strcmp(kernel.signature->name, call.name) != 0) continue;
    std::vector<TensorView> views;
    for (Tensor& input : call.inputs) views.push_back({input.values.data(), input.shape, input.type});
    Memory memory;
    OpContext ctx(memory, std::move(views));
    kernel.compute(ctx);
    return;
  }
  fail(call.name, " is not registered");
}

inline std::vector<Call> all_calls() {
  std::vector<Call> calls;
  const auto add = [&](const char* name, std::vector<Tensor> inputs) { calls.push_back({name, std::move(inputs)}); };
  add("WpoProduct", {floats({70, 1200}), floats({1200, 90})});
  add("WpoProductNT", {floats({300, 600}), floats({150, 600})});
  add("WpoProductTN", {floats({64, 300}), floats({64, 200})});
  add("WpoProductTT", {floats({300, 64}), floats({100, 300})});
  add("WpoGatedProduct", {floats({70, 130}), floats({70, 130}), floats({45, 130})});
  add("WpoGatedProductGrad", {floats({70, 45}), floats({70, 130}), floats({70, 130})});
  add("WpoAddProduct", {floats({70, 90}), floats({70, 1200}), floats({1200, 90})});
  add("WpoAddProductTN", {floats({64, 200}), floats({300, 64}), floats({300, 200})});
  add("WpoAddGatedProductGrad", {floats({45, 130}), floats({70, 45}), floats({70, 130}), floats({70, 130})});
  add("WpoProductNT", {floats({300, 600}), bfloat16s({150, 600})});
  add("WpoProductTN", {bfloat16s({64, 300}), floats({64, 200})});
  add("WpoLinearRows", {floats({13, 128}), bfloat16s({640, 128})});
  add("WpoLinearRows", {floats({13, 133}), bfloat16s({640, 133})});
  add("WpoLinearRows", {floats({13, 133}), floats({640, 133})});
  add("WpoLinearRowsToHeads", {floats({13, 133}), floats({640, 133}), params({4})});
  add("WpoLinearRowsFromHeads", {floats({4, 16, 13}), floats({640, 64})});
  const int32_t prompt = 300, answer = 60, tokens = prompt + 2 * answer, after = prompt + answer;
  for (const float cap : {0.0f, 50.0f})
    for (const int32_t window : {17, 1 << 30}) {
      const Tensor blocks =
          ints({0,      prompt, 0,     window, 1,      0,      prompt, prompt, answer, 0,     window, 1,
                prompt, answer, after, answer, prompt, window, 2,      0,      prompt, after, answer});
      const Tensor q = floats({4, 16, tokens}), k = floats({2, 16, tokens}), scale = params({0.1f, cap});
      add("WpoAttention", {q, k, k, blocks, scale});
      add("WpoAttentionGrad", {q, q, k, k, blocks, scale});
      add("WpoDecodeAttention",
          {floats({4, 64, 3}), floats({2, 64, 600}), floats({2, 64, 600}), ints({0, 200, 200, 100, 250, 350}), scale});
    }
  const Tensor x = floats({170, 650}), w = floats({650});
  add("WpoRmsNorm", {x, w, params({1e-6f, 1}), x});
  add("WpoRmsNormGrad", {x, x, floats({170, 1}), w});
  add("WpoRmsNorm", {x, bfloat16s({650}), params({1e-6f, 0}), x});
  add("WpoRmsNormGrad", {x, x, floats({170, 1}), bfloat16s({650})});
  add("WpoScaledRows", {bfloat16s({4, 650}), ints(std::vector<int32_t>(100, 3)), params({2})});
  const Tensor half = bfloat16s({170, 650});
  add("WpoRmsNorm", {half, w, params({1e-6f, 1}), x});
  add("WpoRmsNormGrad", {x, half, floats({170, 1}), w});
  add("WpoGegluGrad", {half, half, half});
  add("WpoDropout", {half, ints(std::vector<int32_t>(170, 5)), params({0.5f, 2, 0})});
  add("WpoAttention", {bfloat16s({4, 16, 30}), bfloat16s({2, 16, 30}), bfloat16s({2, 16, 30}),
                       ints({0, 30, 0, 30, 1, 0, 30}), params({0.1f, 50})});
  add("WpoRope", {floats({8, 16, 400}), floats({16, 400}), floats({16, 400}), params({1})});
  add("WpoGeglu", {x, x});
  add("WpoGegluGrad", {x, x, x});
  add("WpoAnswerTerms", {floats({9, 5003}), ints({0, 5, 5002, 7, 8, 9, 10, 11, 12}), params({30, 1})});
  add("WpoCapLogits", {floats({9, 5003}), params({30})});
  add("WpoAdd", {x, x});
  add("WpoScaledRows", {x, ints(std::vector<int32_t>(100, 3)), params({2})});
  add("WpoSetColumns", {floats({20, 30, 60}), ints(std::vector<int32_t>(40, 3)), floats({20, 30, 40})});
  add("WpoSquareSums", {x, w});
  const std::vector<float> adamw = {1, 0.1f, 0.99f, 0.01f, 1e-8f, 0.1f, 1, 1};
  const Tensor none = ints({}), narrow = bfloat16s({170, 650}), low = zeros({170, 650}, Type::kInt16);
  add("WpoAdamW", {params(adamw), none, x, x, x, x});
  add("WpoAdamW", {params(adamw), none, narrow, low, x, x, x});
  add("WpoAdamW", {params(adamw), ints({7}), narrow, x, x, x});
  std::vector<float> adamw_8bit = adamw;
  for (int i = 0; i < 512; i++) adamw_8bit.push_back(static_cast<float>(i % 256) / 255);
  const Tensor codes = zeros({170, 650}, Type::kUint8), scales = floats({432});
  add("WpoAdamW8bit", {params(adamw_8bit), none, x, codes, scales, codes, scales, x});
  add("WpoAdamW8bit", {params(adamw_8bit), none, narrow, low, codes, scales, codes, scales, x});
  add("WpoAdamWMean8bit", {params(adamw_8bit), ints({7}), narrow, codes, scales, x, x});
  add("WpoLion", {params({1, 0.9f, 0.1f, 0.99f, 0.01f, 0.1f, 1}), none, x, x, x});
  add("WpoSgd", {params({1, 0.1f, 0.1f}), none, narrow, low, x});
  add("WpoAdafactor", {params({1, 0.9f, 0.1f, 0.1f, 1}), none, x, floats({170}), w, x});
  add("WpoAdafactor", {params({1, 0.9f, 0.1f, 0.1f, 1}), none, narrow, low, floats({170}), w, x});
  add("WpoAdafactorVector", {params({1, 0.9f, 0.1f, 0.1f, 1}), none, w, w, w});
  return calls;
}

}  // namespace wpo
