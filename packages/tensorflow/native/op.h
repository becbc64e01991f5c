// TensorFlow operations from plain functions: registered at load through TensorFlow's C kernel API, found by name by
// tfjs-node's executeOp. Inputs and outputs are float32 unless said otherwise.
#pragma once
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <string>
#include <vector>
#include "tensorflow/c/kernels.h"
#include "tensorflow/c/ops.h"
#include "tensorflow/c/tf_tensor.h"

namespace wpo {

using Shape = std::vector<int64_t>;

// One run of an operation: its inputs, and the outputs that it makes.
class Run {
 public:
  explicit Run(TF_OpKernelContext* context) : context_(context), status_(TF_NewStatus()) {
    for (int i = 0, n = TF_NumInputs(context); i < n; i++) {
      TF_Tensor* tensor = nullptr;
      TF_GetInput(context, i, &tensor, status_);
      inputs_.push_back(tensor);
    }
  }
  ~Run() {
    for (TF_Tensor* tensor : inputs_) TF_DeleteTensor(tensor);
    for (TF_Tensor* tensor : outputs_) TF_DeleteTensor(tensor);
    TF_DeleteStatus(status_);
  }
  Run(const Run&) = delete;

  template <class T = float>
  T* in(int i) const { return static_cast<T*>(TF_TensorData(inputs_[i])); }
  int64_t size(int i) const { return TF_TensorElementCount(inputs_[i]); }
  Shape shape(int i) const {
    Shape dims(TF_NumDims(inputs_[i]));
    for (size_t k = 0; k < dims.size(); k++) dims[k] = TF_Dim(inputs_[i], static_cast<int>(k));
    return dims;
  }
  // The last dimension, and how many rows of it there are.
  int64_t width(int i) const { return TF_Dim(inputs_[i], TF_NumDims(inputs_[i]) - 1); }
  int64_t rows(int i) const { return width(i) ? size(i) / width(i) : 0; }

  float* out(int i, const Shape& dims) {
    int64_t count = 1;
    for (int64_t n : dims) count *= n;
    TF_Tensor* tensor =
        TF_AllocateOutput(context_, i, TF_FLOAT, dims.data(), static_cast<int>(dims.size()), count * 4, status_);
    if (!tensor) {
      ok(false, "no memory for an output of " + std::to_string(count * 4) + " bytes");
      return nullptr;
    }
    outputs_.push_back(tensor);
    return static_cast<float*>(TF_TensorData(tensor));
  }
  // Fails the operation, with its name in front, unless `condition` holds.
  bool ok(bool condition, const std::string& what) {
    if (condition || failed_) return !failed_;
    failed_ = true;
    TF_SetStatus(status_, TF_INVALID_ARGUMENT, what.c_str());
    TF_OpKernelContext_Failure(context_, status_);
    return false;
  }

 private:
  TF_OpKernelContext* context_;
  TF_Status* status_;
  std::vector<TF_Tensor*> inputs_, outputs_;
  bool failed_ = false;
};

// Registers `Compute` as operation `name`; inputs and outputs as "name: type".
template <void (*Compute)(Run&)>
void define(const char* name, std::initializer_list<const char*> inputs, std::initializer_list<const char*> outputs) {
  TF_Status* status = TF_NewStatus();
  TF_OpDefinitionBuilder* op = TF_NewOpDefinitionBuilder(name);
  for (const char* input : inputs) TF_OpDefinitionBuilderAddInput(op, input);
  for (const char* output : outputs) TF_OpDefinitionBuilderAddOutput(op, output);
  // Operations that write into an input must run every time they are asked to.
  TF_OpDefinitionBuilderSetIsStateful(op, true);
  TF_OpDefinitionBuilderSetShapeInferenceFunction(
      op, [](TF_ShapeInferenceContext* c, TF_Status* s) { TF_ShapeInferenceContextSetUnknownShape(c, s); });
  TF_RegisterOpDefinition(op, status);
  if (TF_GetCode(status) == TF_OK) {
    auto compute = [](void*, TF_OpKernelContext* context) {
      Run run(context);
      Compute(run);
    };
    TF_RegisterKernelBuilder(name, TF_NewKernelBuilder(name, "CPU", nullptr, compute, nullptr), status);
  }
  if (TF_GetCode(status) != TF_OK) fprintf(stderr, "wpo: %s was not registered: %s\n", name, TF_Message(status));
  TF_DeleteStatus(status);
}

}  // namespace wpo
