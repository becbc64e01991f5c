// Recorded programs: many operations in one call of TensorFlow. A token of generation takes some hundred small
// operations, and a training step on a GPU several hundred; running one from JavaScript costs more than most of them
// compute.
//
// A program is int32 code. Its instructions make values, numbered from 0 in order:
//
//   kTensor                                  the next input tensor
//   kInts, rank, dimensions …, values …      int32 values stored in the program itself
//   kRun, operation, number of each input …, the operation's outputs; `operation` is an index in the interpreter's list
//     rank and dimensions of each output …   of kernels. A list of inputs is its length, then the number of each. An
//                                            output that replaces stored values is −1, then the number of those values;
//                                            one of bfloat16 values is −2, then its rank and dimensions
//   kRunBf16, …                              as kRun, but operands of matrix products are rounded to bfloat16
//   kBf16Tensor, rank, dimensions …          the next input tensor: bfloat16 values of this shape, two in each float
//   kDrop, number                            frees a value that no later instruction reads
//   kGive, number                            returns an operation's output as the program's next output. bfloat16
//   values
//                                            are returned two in each float
//   kStored, arena, offset's lower 30 bits,  values of an arena (store.h), from `offset` values after its start; `type`
//     its upper bits, type, rank,            is 0 for float32, 1 for bfloat16, 2 for int16, 3 for uint8
//     dimensions …
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "runtime/operation.h"
#include "runtime/store.h"

namespace wpo {

class Interpreter : public OutputAllocator {
 public:
  // `ctx` is the call of WpoProgram: code, tensors.
  Interpreter(OpContext& ctx, TensorFlowContext& tensorflow)
      : ctx_(ctx), tensorflow_(tensorflow), code_(ctx.input<int32_t>(0)), size_(ctx.size(0)) {}

  void run() {
    int given = 0;
    const int outputs = tensorflow_.num_outputs();
    while (at_ < size_) switch (const int32_t instruction = next()) {
        case kTensor:
          add(next_tensor());
          break;
        case kBf16Tensor: {
          Shape shape = next_shape();
          const TensorView& tensor = next_tensor();
          const int64_t floats = floats_of_bf16(checked_element_count(shape));
          require(tensor.type == Type::kFloat32 && element_count(tensor.shape) == floats,
                  "expected a float32 tensor of ", floats, " values with bfloat16 values of shape ", shape, ", found ",
                  name_of(tensor.type), " of shape ", tensor.shape);
          add({tensor.data, std::move(shape), Type::kBfloat16});
          break;
        }
        case kInts: {
          Shape shape = next_shape();
          const int64_t count = checked_element_count(shape);
          require(count <= size_ - at_, "the program ends within its ints: expected ", count, ", found ", size_ - at_);
          add({const_cast<int32_t*>(code_) + at_, std::move(shape), Type::kInt32});
          at_ += count;
          break;
        }
        case kRun:
          run_operation(Precision::kFloat32);
          break;
        case kRunBf16:
          run_operation(Precision::kBfloat16);
          break;
        case kDrop:
          next_output() = {};
          break;
        case kGive: {
          const Value& value = next_output();
          require(given < outputs, "the program returns more than the ", outputs, " outputs declared");
          tensorflow_.set_output(given++, value.tensor.get());
          break;
        }
        case kStored:
          add_stored();
          break;
        default:
          fail("expected an instruction from ", kTensor, " to ", kBf16Tensor, ", found ", instruction, " at ", at_ - 1);
      }
    require(given == outputs, "the program returns ", given, " of the ", outputs, " outputs declared");
    require_unchanged_files();
  }

  TensorView allocate(int output, const Shape& shape) override {
    Value& value = values_[first_output_ + output];
    const int64_t count = element_count(shape);
    require(count == element_count(value.view.shape), "makes an output of shape ", shape, ", but the program expects ",
            value.view.shape);
    value.exists = true;
    if (value.arena) return value.view;
    value.tensor =
        tensorflow_.temporary(value.view.type == Type::kBfloat16 ? Shape{floats_of_bf16(count)} : value.view.shape);
    value.view.data = TF_TensorData(value.tensor.get());
    return value.view;
  }

 protected:
  TensorFlowContext& tensorflow() { return tensorflow_; }
  virtual int32_t num_kernels() const = 0;
  virtual const Signature& signature(int32_t kernel) const = 0;
  virtual void compute(int32_t kernel, std::vector<TensorView> inputs, Precision precision) = 0;

 private:
  struct Value {
    TensorView view = {};
    bool exists = false;
    std::shared_ptr<TF_Tensor> tensor = nullptr;   // of an operation's output
    std::shared_ptr<const Arena> arena = nullptr;  // of stored values, and of an output that replaces them
  };
  enum Instruction { kTensor, kInts, kRun, kDrop, kGive, kStored, kRunBf16, kBf16Tensor };
  static constexpr int kFirstTensor = 1;  // among the inputs

  int32_t next() {
    require(at_ < size_, "the program ends within an instruction");
    return code_[at_++];
  }
  const TensorView& next_tensor() {
    require(next_tensor_ < ctx_.num_inputs(), "the program reads more than the ", ctx_.num_inputs() - kFirstTensor,
            " tensors given");
    return ctx_.view(next_tensor_++);
  }
  // Floats that hold `count` bfloat16 values.
  static int64_t floats_of_bf16(int64_t count) { return (count + 1) / 2; }
  int64_t num_values() const { return static_cast<int64_t>(values_.size()); }
  void add(TensorView view, bool exists = true) { values_.push_back({std::move(view), exists}); }

  Shape next_shape() {
    const int32_t rank = next();
    require(rank >= 0 && rank <= kMaxRank, "expected a rank from 0 to ", kMaxRank, ", found ", rank);
    Shape shape;
    for (int32_t i = 0; i < rank; i++) shape.push_back(next());
    return shape;
  }

  void add_stored() {
    std::shared_ptr<const Arena> arena = store().find(next());
    const int64_t low = next(), high = next();
    require(low >= 0 && low < 1 << 30 && high >= 0 && high < 1 << 30,
            "expected an offset of two parts of 30 bits, found ", low, " and ", high);
    const int32_t number = next();
    require(number >= 0 && number < kStoredTypes, "expected a type from 0 to ", kStoredTypes - 1, ", found ", number);
    const Type type = static_cast<Type>(number);
    Shape shape = next_shape();
    const int64_t offset = ((high << 30) + low) * size_of(type);
    arena->require_range(offset, checked_element_count(shape) * size_of(type));
    add({arena->at(offset), std::move(shape), type, arena->mapped != nullptr, arena->pinned});
    values_.back().arena = std::move(arena);
  }

  // Throws if a mapped file has changed: the program may have read other values.
  void require_unchanged_files() const {
    const MappedFile* last = nullptr;  // most values are of the same file as the one before
    for (const Value& value : values_) {
      const MappedFile* const file = value.arena ? value.arena->mapped.get() : nullptr;
      if (!file || file == last) continue;
      file->require_unchanged();
      last = file;
    }
  }

  // The operation's output whose number comes next.
  Value& next_output() {
    const int32_t number = next();
    require(number >= 0 && number < num_values() && values_[number].tensor,
            "expected the number of an operation's output, found ", number);
    return values_[number];
  }

  // The value whose number comes next, as input i of an operation.
  const TensorView& next_input(const Signature& operation, size_t i) {
    const int32_t number = next();
    require(number >= 0 && number < num_values() && values_[number].exists, operation.name, ": expected ",
            operation.inputs[i], " as input ", i, ", found value ", number, ", which does not exist");
    const TensorView& view = values_[number].view;
    require(operation.accepts(i, view.type), operation.name, ": expected ", operation.inputs[i], " as input ", i,
            ", found value ", number, " of type ", name_of(view.type));
    require(view.pinned == operation.is_pinned(i), operation.name, ": expected ", operation.inputs[i], " as input ", i,
            " in memory of the ", operation.is_pinned(i) ? "CPU" : "GPU", ", found value ", number, " in the other's");
    return view;
  }

  // Output i of an operation with these inputs: a tensor, or in the place of stored values.
  void add_output(const Signature& operation, size_t i, const std::vector<TensorView>& inputs) {
    constexpr int32_t kReplaces = -1, kBfloat16 = -2;
    if (at_ < size_ && code_[at_] != kReplaces) {
      const bool is_bf16 = code_[at_] == kBfloat16;
      if (is_bf16) next();
      require(!is_bf16 || Signature::may_be_bf16(operation.outputs[i]), operation.name, ": expected ",
              operation.outputs[i], " as output ", i, ", found bfloat16");
      Shape shape = next_shape();
      checked_element_count(shape);
      return add({nullptr, std::move(shape), is_bf16 ? Type::kBfloat16 : Type::kFloat32}, false);
    }
    next();
    const int32_t number = next();
    require(number >= 0 && number < num_values() && values_[number].exists && values_[number].arena, operation.name,
            ": expected the number of stored values to replace, found ", number);
    const Value& replaced = values_[number];
    require(replaced.view.type == Type::kFloat32 && !replaced.view.read_only && !replaced.view.pinned, operation.name,
            ": expected float32 values in memory to replace, found ", name_of(replaced.view.type),
            replaced.view.read_only ? " values of a mapped file"
            : replaced.view.pinned  ? " pinned values"
                                    : " values");
    for (const TensorView& input : inputs)
      require(!overlap(input, replaced.view), operation.name, ": an output would replace one of the inputs");
    Value output = replaced;
    output.exists = false;
    values_.push_back(std::move(output));
  }
  static bool overlap(const TensorView& a, const TensorView& b) {
    const auto end = [](const TensorView& x) {
      return static_cast<const char*>(x.data) + element_count(x.shape) * size_of(x.type);
    };
    return a.data < end(b) && b.data < end(a);
  }

  void run_operation(Precision precision) {
    const int32_t kernel = next();
    require(kernel >= 0 && kernel < num_kernels(), "expected an operation from 0 to ", num_kernels() - 1, ", found ",
            kernel);
    const Signature& operation = signature(kernel);
    require(!operation.returns_list(), operation.name, " cannot be part of a program");
    std::vector<TensorView> inputs;
    for (size_t i = 0; i < operation.inputs.size(); i++) {
      const int32_t count = operation.is_list(i) ? next() : 1;
      require(count >= 1, operation.name, ": expected at least one value as ", operation.inputs[i], ", found ", count);
      for (int32_t k = 0; k < count; k++) inputs.push_back(next_input(operation, i));
    }
    first_output_ = num_values();
    for (size_t i = 0; i < operation.outputs.size(); i++) add_output(operation, i, inputs);
    try {
      compute(kernel, std::move(inputs), precision);
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument(operation.name + std::string(": ") + error.what());
    } catch (const std::exception& error) {
      throw std::runtime_error(operation.name + std::string(": ") + error.what());
    }
  }

  OpContext& ctx_;
  TensorFlowContext& tensorflow_;
  const int32_t* code_;
  const int64_t size_;
  int64_t at_ = 0, first_output_ = 0;  // the next instruction; the first output of the operation that runs
  int next_tensor_ = kFirstTensor;
  std::vector<Value> values_;
};

}  // namespace wpo
