// TensorFlow operations from plain functions: registered at load through TensorFlow's C kernel API, found by name by
// tfjs-node's executeOp. Inputs and outputs are float32 unless said otherwise.
#pragma once
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>
#include "tensorflow/c/kernels.h"
#include "tensorflow/c/ops.h"
#include "tensorflow/c/tf_tensor.h"

namespace wpo {

using Shape = std::vector<int64_t>;

inline int64_t count_of(const Shape& dims) {
  int64_t count = 1;
  for (int64_t n : dims) count *= n;
  return count;
}

// Where a value lies, and its dimensions.
struct View {
  void* data;
  Shape dims;
};

// What an operation is run for: makes its outputs, and hears of what went wrong.
struct Host {
  virtual ~Host() = default;
  virtual float* make(int output, const Shape& dims) = 0;  // null where there is no memory
  virtual void fail(const std::string& what) = 0;
};

// One run of an operation: its inputs, and the outputs that it makes.
class Run {
 public:
  Run(Host& host, std::vector<View> inputs) : host_(host), inputs_(std::move(inputs)) {}
  Host& host() { return host_; }

  template <class T = float>
  T* in(int i) const { return static_cast<T*>(inputs_[i].data); }
  // Numbers that tell an operation how to work come as the bits of int32 values: those stay with the processor, where a GPU's
  // floats would have to be waited for.
  const float* numbers(int i) const { return static_cast<const float*>(inputs_[i].data); }
  int count() const { return static_cast<int>(inputs_.size()); }
  const View& view(int i) const { return inputs_[i]; }
  const Shape& shape(int i) const { return inputs_[i].dims; }
  int64_t size(int i) const { return count_of(shape(i)); }
  // The last dimension, and how many rows of it there are.
  int64_t width(int i) const { return shape(i).empty() ? 1 : shape(i).back(); }
  int64_t rows(int i) const { return shape(i).empty() ? 1 : count_of({shape(i).begin(), shape(i).end() - 1}); }

  float* out(int i, const Shape& dims) {
    float* made = host_.make(i, dims);
    ok(made || count_of(dims) == 0, "no memory for an output of " + std::to_string(count_of(dims) * 4) + " bytes");
    return made;
  }
  // Fails the operation unless `condition` holds.
  bool ok(bool condition, const std::string& what) {
    if (!condition && !failed_) host_.fail(what);
    failed_ |= !condition;
    return !failed_;
  }

 private:
  Host& host_;
  std::vector<View> inputs_;
  bool failed_ = false;
};

// TensorFlow, running an operation.
class Kernel : public Host {
 public:
  explicit Kernel(TF_OpKernelContext* context) : context_(context), status_(TF_NewStatus()) {}
  ~Kernel() override {
    for (TF_Tensor* tensor : tensors_) TF_DeleteTensor(tensor);
    TF_DeleteStatus(status_);
  }
  Kernel(const Kernel&) = delete;

  std::vector<View> inputs() {
    std::vector<View> views(TF_NumInputs(context_));
    for (size_t i = 0; i < views.size(); i++) {
      TF_Tensor* tensor = nullptr;
      TF_GetInput(context_, static_cast<int>(i), &tensor, status_);
      views[i].data = keep(tensor);
      for (int k = 0; k < TF_NumDims(tensor); k++) views[i].dims.push_back(TF_Dim(tensor, k));
    }
    return views;
  }
  float* make(int output, const Shape& dims) override {
    TF_Tensor* tensor = TF_AllocateOutput(context_, output, TF_FLOAT, dims.data(), static_cast<int>(dims.size()),
                                          count_of(dims) * 4, status_);
    return tensor ? static_cast<float*>(keep(tensor)) : nullptr;
  }
  // A tensor on the device that it runs on; null where there is no memory.
  std::shared_ptr<TF_Tensor> tensor(const Shape& dims) {
    TF_AllocatorAttributes attributes = {TF_ALLOCATOR_ATTRIBUTES_STRUCT_SIZE, 0};
    TF_Tensor* made = TF_AllocateTemp(context_, TF_FLOAT, dims.data(), static_cast<int>(dims.size()), &attributes, status_);
    return {made, [](TF_Tensor* tensor) { if (tensor) TF_DeleteTensor(tensor); }};
  }
  // Memory there.
  std::shared_ptr<void> scratch(int64_t bytes) {
    const std::shared_ptr<TF_Tensor> held = tensor({(bytes + 3) / 4});
    if (!held) return nullptr;
    return {held, TF_TensorData(held.get())};
  }
  int outputs() const { return TF_NumOutputs(context_); }
  void give(int output, TF_Tensor* tensor) { TF_SetOutput(context_, output, tensor, status_); }
  void fail(const std::string& what) override {
    TF_SetStatus(status_, TF_INVALID_ARGUMENT, what.c_str());
    TF_OpKernelContext_Failure(context_, status_);
  }

 private:
  void* keep(TF_Tensor* tensor) {
    tensors_.push_back(tensor);
    return TF_TensorData(tensor);
  }

  TF_OpKernelContext* context_;
  TF_Status* status_;
  std::vector<TF_Tensor*> tensors_;
};

// An operation's name, and its inputs and outputs as "name: type".
struct Signature {
  const char* name;
  std::vector<std::string> inputs, outputs;
  bool is_int(int input) const {
    const std::string& text = inputs[input];
    return text.size() > 5 && text.compare(text.size() - 5, 5, "int32") == 0;
  }
};

// An operation as a program finds it (program.h).
struct Operation : Signature {
  void (*compute)(Run&);
};

inline std::vector<Operation>& operations() {
  static std::vector<Operation> defined;
  return defined;
}

// Registers `Compute` as operation `name`; inputs and outputs as "name: type", `attributes` for lists of them.
template <void (*Compute)(Run&)>
void define(const char* name, std::initializer_list<const char*> inputs, std::initializer_list<const char*> outputs,
            std::initializer_list<const char*> attributes = {}) {
  operations().push_back({{name, {inputs.begin(), inputs.end()}, {outputs.begin(), outputs.end()}}, Compute});
  TF_Status* status = TF_NewStatus();
  TF_OpDefinitionBuilder* op = TF_NewOpDefinitionBuilder(name);
  for (const char* attribute : attributes) TF_OpDefinitionBuilderAddAttr(op, attribute);
  for (const char* input : inputs) TF_OpDefinitionBuilderAddInput(op, input);
  for (const char* output : outputs) TF_OpDefinitionBuilderAddOutput(op, output);
  // Operations that write into an input must run every time they are asked to.
  TF_OpDefinitionBuilderSetIsStateful(op, true);
  TF_OpDefinitionBuilderSetShapeInferenceFunction(
      op, [](TF_ShapeInferenceContext* c, TF_Status* s) { TF_ShapeInferenceContextSetUnknownShape(c, s); });
  TF_RegisterOpDefinition(op, status);
  if (TF_GetCode(status) == TF_OK) {
    auto compute = [](void*, TF_OpKernelContext* context) {
      Kernel kernel(context);
      Run run(kernel, kernel.inputs());
      Compute(run);
    };
    TF_RegisterKernelBuilder(name, TF_NewKernelBuilder(name, "CPU", nullptr, compute, nullptr), status);
  }
  if (TF_GetCode(status) != TF_OK) fprintf(stderr, "wpo: %s was not registered: %s\n", name, TF_Message(status));
  TF_DeleteStatus(status);
}

}  // namespace wpo
