// TensorFlow operations from plain functions: registered at load through TensorFlow's C kernel API, found by name by
// tfjs-node's executeOp. Inputs and outputs are float32 unless the signature says otherwise.
#pragma once
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "runtime/error.h"
#include "runtime/scratch.h"
#include "runtime/signatures.h"
#include "runtime/step-memory.h"
#include "tensorflow/c/kernels.h"
#include "tensorflow/c/ops.h"
#include "tensorflow/c/tf_tensor.h"

namespace wpo {

struct TensorView {
  void* data;
  Shape shape;
  Type type = Type::kFloat32;
  bool read_only = false;
  bool pinned = false;  // stored in the CPU's memory, where the operation may run on a GPU
};

// Makes an operation's outputs, of the types that its caller asks for: TensorFlow, or the interpreter of a recorded
// program.
struct OutputAllocator {
  virtual ~OutputAllocator() = default;
  virtual TensorView allocate(int output, const Shape& shape) = 0;  // throws OutOfMemory
};

// One call of an operation: its inputs, and the outputs that it makes. Inputs and outputs may be bfloat16 where the
// signature says so. A kernel either handles both types (`view`, `typed_output`), or leaves it to the context to
// convert them (`input`, `output`).
class OpContext {
 public:
  OpContext(OutputAllocator& allocator, std::vector<TensorView> inputs, Precision precision = Precision::kFloat32)
      : allocator_(allocator), inputs_(std::move(inputs)), precision_(precision) {}
  virtual ~OpContext() = default;
  OpContext(const OpContext&) = delete;
  OpContext& operator=(const OpContext&) = delete;
  OutputAllocator& allocator() { return allocator_; }
  // Of the operation's matrix products.
  Precision precision() const { return precision_; }

  // Input i as it is stored.
  template <class T>
  const T* input(int i) const {
    return static_cast<const T*>(inputs_[i].data);
  }
  // Input i as float32 values. bfloat16 values are widened into memory that is held until the operation ends.
  const float* input(int i) {
    const TensorView& x = inputs_[i];
    if (x.type != Type::kBfloat16) return static_cast<const float*>(x.data);
    float* y = hold_floats(size(i));
    widen_values(x, y);
    return y;
  }
  // Input i, which the operation changes.
  template <class T = float>
  T* changed_input(int i) const {
    require(!inputs_[i].read_only, "input ", i, " would be changed, but it is a mapped file, which is read-only");
    return static_cast<T*>(inputs_[i].data);
  }
  int num_inputs() const { return static_cast<int>(inputs_.size()); }
  const TensorView& view(int i) const { return inputs_[i]; }
  const Shape& shape(int i) const { return inputs_[i].shape; }
  int64_t size(int i) const { return element_count(shape(i)); }
  // The last dimension, and the product of the others.
  int64_t width(int i) const { return shape(i).empty() ? 1 : shape(i).back(); }
  int64_t rows(int i) const { return shape(i).empty() ? 1 : element_count({shape(i).begin(), shape(i).end() - 1}); }

  // Input i as `count` float parameters. They come as the bits of int32 values, because int32 inputs stay in CPU
  // memory: a float on a GPU could be read only after all work before it.
  const float* params(int i, int64_t count, const char* names) const {
    require(size(i) == count, "expected ", count, " parameters (", names, "), found ", size(i));
    return static_cast<const float*>(inputs_[i].data);
  }

  // Output i, in the type that the caller asks for.
  TensorView typed_output(int i, const Shape& shape) {
    checked_element_count(shape);
    return allocator_.allocate(i, shape);
  }
  // Output i as float32 values. If the caller asks for bfloat16, `finish` rounds them.
  float* output(int i, const Shape& shape) {
    const TensorView view = typed_output(i, shape);
    if (view.type == Type::kFloat32) return static_cast<float*>(view.data);
    rounded_.push_back({hold_floats(element_count(shape)), view});
    return rounded_.back().values;
  }
  // Called when the kernel has returned.
  void finish() {
    for (const Rounded& output : rounded_) round_values(output.values, output.to);
  }
  // The output of an operation that changes an input in place: a scalar that nothing reads.
  float* output_done() { return output(0, {}); }

 protected:
  // Memory that is held until the operation ends; and conversions of all values. On a CPU.
  virtual float* hold_floats(int64_t count);
  virtual void widen_values(const TensorView& x, float* y);
  virtual void round_values(const float* x, const TensorView& y);

 private:
  struct Rounded {
    float* values;
    TensorView to;
  };

  OutputAllocator& allocator_;
  std::vector<TensorView> inputs_;
  Precision precision_;
  std::vector<Rounded> rounded_;
  std::vector<Scratch> held_;
};

// Checks that indices are in [0, count).
inline void require_indices(const int32_t* indices, int64_t n, int64_t count, const char* what) {
  for (int64_t i = 0; i < n; i++)
    if (indices[i] < 0 || indices[i] >= count)
      fail(what, " ", i, ": expected an index from 0 to ", count - 1, ", found ", indices[i]);
}

// Checks that inputs i and i + 1 have one type.
inline void require_one_type(const OpContext& ctx, int i, const char* what) {
  const Type first = ctx.view(i).type, second = ctx.view(i + 1).type;
  require(first == second, "expected ", what, " of one type, found ", name_of(first), " and ", name_of(second));
}

// TensorFlow's side of a call.
class TensorFlowContext : public OutputAllocator {
 public:
  explicit TensorFlowContext(TF_OpKernelContext* context) : context_(context), status_(TF_NewStatus()) {}
  ~TensorFlowContext() override {
    for (TF_Tensor* tensor : tensors_) TF_DeleteTensor(tensor);
    TF_DeleteStatus(status_);
  }
  TensorFlowContext(const TensorFlowContext&) = delete;
  TensorFlowContext& operator=(const TensorFlowContext&) = delete;

  std::vector<TensorView> inputs() {
    std::vector<TensorView> views(TF_NumInputs(context_));
    tensors_.reserve(views.size() + TF_NumOutputs(context_));
    for (size_t i = 0; i < views.size(); i++) {
      TF_Tensor* tensor = nullptr;
      TF_GetInput(context_, static_cast<int>(i), &tensor, status_);
      if (!tensor) throw std::runtime_error(std::string("an input cannot be read: ") + TF_Message(status_));
      views[i].data = own(tensor);
      for (int k = 0; k < TF_NumDims(tensor); k++) views[i].shape.push_back(TF_Dim(tensor, k));
      if (TF_TensorType(tensor) == TF_INT32) views[i].type = Type::kInt32;
    }
    return views;
  }
  // Of an operation on the CPU: large tensors are step memory.
  void use_step_memory() { uses_step_memory_ = true; }
  TensorView allocate(int output, const Shape& shape) override {
    const int64_t count = element_count(shape), bytes = count * static_cast<int64_t>(sizeof(float));
    if (TF_Tensor* const tensor = step_tensor(shape)) {
      const TensorView view = {own(tensor), shape};
      set_output(output, tensor);
      return view;
    }
    TF_Tensor* tensor = TF_AllocateOutput(context_, output, TF_FLOAT, shape.data(), static_cast<int>(shape.size()),
                                          static_cast<size_t>(bytes), status_);
    if (!tensor) throw OutOfMemory(count);
    return {own(tensor), shape};
  }
  // A tensor in the memory of the device that the operation runs on.
  std::shared_ptr<TF_Tensor> temporary(const Shape& shape) {
    if (TF_Tensor* const tensor = step_tensor(shape)) return {tensor, TF_DeleteTensor};
    TF_AllocatorAttributes attributes = {TF_ALLOCATOR_ATTRIBUTES_STRUCT_SIZE, 0};
    TF_Tensor* made =
        TF_AllocateTemp(context_, TF_FLOAT, shape.data(), static_cast<int>(shape.size()), &attributes, status_);
    if (!made || TF_GetCode(status_) != TF_OK) {
      if (made) TF_DeleteTensor(made);
      throw OutOfMemory(element_count(shape));
    }
    return {made, TF_DeleteTensor};
  }
  std::shared_ptr<void> device_memory(int64_t bytes) {
    const std::shared_ptr<TF_Tensor> tensor = temporary({(bytes + 3) / 4});
    return {tensor, TF_TensorData(tensor.get())};
  }
  int num_outputs() const { return TF_NumOutputs(context_); }
  void set_output(int output, TF_Tensor* tensor) { TF_SetOutput(context_, output, tensor, status_); }
  void fail(TF_Code code, const std::string& message) {
    TF_SetStatus(status_, code, message.c_str());
    TF_OpKernelContext_Failure(context_, status_);
  }

 private:
  void* own(TF_Tensor* tensor) {
    tensors_.push_back(tensor);
    return TF_TensorData(tensor);
  }
  // A tensor in step memory; null if it is too small, or not for the CPU.
  TF_Tensor* step_tensor(const Shape& shape) {
    const int64_t count = element_count(shape), bytes = count * static_cast<int64_t>(sizeof(float));
    if (!uses_step_memory_ || bytes < kMinStepMemory) return nullptr;
    void* const memory = allocate_step_memory(bytes);
    if (!memory) throw OutOfMemory(count);
    const auto deallocate = [](void* data, size_t length, void*) {
      free_step_memory(data, static_cast<int64_t>(length));
    };
    TF_Tensor* const tensor = TF_NewTensor(TF_FLOAT, shape.data(), static_cast<int>(shape.size()), memory,
                                           static_cast<size_t>(bytes), deallocate, nullptr);
    if (!tensor) throw OutOfMemory(count);
    return tensor;
  }

  bool uses_step_memory_ = false;
  TF_OpKernelContext* context_;
  TF_Status* status_;
  std::vector<TF_Tensor*> tensors_;
};

// Calls `body(tensorflow)` for operation `name`. No exception leaves it: each becomes TensorFlow's status.
template <class Body>
void run_kernel(const char* name, TF_OpKernelContext* context, Body body) noexcept {
  try {
    TensorFlowContext tensorflow(context);
    const auto report = [&](TF_Code code, const char* message) {
      tensorflow.fail(code, std::string(name) + ": " + message);
    };
    try {
      body(tensorflow);
    } catch (const std::invalid_argument& error) {
      report(TF_INVALID_ARGUMENT, error.what());
    } catch (const OutOfMemory& error) {
      report(TF_RESOURCE_EXHAUSTED, error.what());
    } catch (const std::bad_alloc&) {
      report(TF_RESOURCE_EXHAUSTED, "out of memory");
    } catch (const std::exception& error) {
      report(TF_INTERNAL, error.what());
    } catch (...) {
      report(TF_INTERNAL, "an unknown C++ exception");
    }
  } catch (...) {
    // The error could not be reported. TensorFlow then fails because outputs are missing.
  }
}

// An operation's kernel as the interpreter finds it (program.h). Its place in the list is its number in a program.
template <class Context>
struct Kernel {
  const Signature* signature;
  void (*compute)(Context&);
};

template <class Context>
std::vector<Kernel<Context>>& kernels() {
  static std::vector<Kernel<Context>> registered;
  return registered;
}

inline void require_registered(TF_Status* status, const char* name) {
  const std::unique_ptr<TF_Status, void (*)(TF_Status*)> owned(status, TF_DeleteStatus);
  if (TF_GetCode(status) != TF_OK)
    throw std::runtime_error(std::string(name) + " could not be registered: " + TF_Message(status));
}

inline void define_operation(const Signature& signature) {
  TF_OpDefinitionBuilder* op = TF_NewOpDefinitionBuilder(signature.name);
  for (const char* attribute : signature.attributes) TF_OpDefinitionBuilderAddAttr(op, attribute);
  for (size_t i = 0; i < signature.inputs.size(); i++)
    TF_OpDefinitionBuilderAddInput(op, Signature::definition(signature.inputs[i]).c_str());
  for (const char* output : signature.outputs)
    TF_OpDefinitionBuilderAddOutput(op, Signature::definition(output).c_str());
  // TensorFlow must not skip or merge calls of operations that write into an input.
  TF_OpDefinitionBuilderSetIsStateful(op, true);
  TF_OpDefinitionBuilderSetShapeInferenceFunction(
      op, [](TF_ShapeInferenceContext* c, TF_Status* s) { TF_ShapeInferenceContextSetUnknownShape(c, s); });
  TF_Status* status = TF_NewStatus();
  TF_RegisterOpDefinition(op, status);
  require_registered(status, signature.name);
}

// TensorFlow's callback takes no argument of ours, so each instance reads its operation's name here.
template <void (*Compute)(OpContext&)>
inline const char* kernel_name = nullptr;

// Registers the CPU kernel of an operation. The signature must live as long as the process.
template <void (*Compute)(OpContext&)>
void register_kernel(const Signature& signature) {
  kernels<OpContext>().push_back({&signature, Compute});
  kernel_name<Compute> = signature.name;
  const auto compute = [](void*, TF_OpKernelContext* context) {
    run_kernel(kernel_name<Compute>, context, [](TensorFlowContext& tensorflow) {
      tensorflow.use_step_memory();
      OpContext ctx(tensorflow, tensorflow.inputs());
      Compute(ctx);
    });
  };
  TF_Status* status = TF_NewStatus();
  TF_RegisterKernelBuilder(signature.name, TF_NewKernelBuilder(signature.name, "CPU", nullptr, compute, nullptr),
                           status);
  require_registered(status, signature.name);
}
template <void (*Compute)(OpContext&)>
void register_kernel(const char* name) {
  register_kernel<Compute>(signature_of(name));
}

}  // namespace wpo
