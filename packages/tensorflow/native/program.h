// Many operations in one. A token of generation takes some hundred small ones, and a step on a GPU several hundred; to have
// TensorFlow run one from JavaScript costs more than most of them do.
//
// A program is int32 values: what follows one another there makes values, numbered from 0 in the order made, drops one, or gives
// one back:
//
//   tensor                                  the next of the tensors given
//   ints, rank, dimensions …, values …      values that lie in the program itself
//   run, operation, inputs' numbers …,      an operation's outputs; its number is its place in the machine
//     rank and dimensions of each output …
//   drop, number                            frees a value that no later instruction reads
//   give, number                            an operation's output becomes the program's next
#pragma once
#include <memory>
#include <string>
#include <vector>
#include "op.h"

namespace wpo {

// What runs a program's operations, and finds memory for what they make.
class Machine {
 public:
  explicit Machine(Kernel& kernel) : kernel_(kernel) {}
  virtual ~Machine() = default;
  virtual int32_t count() const = 0;
  virtual const Signature& signature(int32_t operation) const = 0;
  virtual void compute(int32_t operation, Host& host, std::vector<View> inputs) = 0;
  Kernel& kernel() { return kernel_; }

 private:
  Kernel& kernel_;
};

class Program : public Host {
 public:
  Program(Run& run, Machine& machine)
      : run_(run), machine_(machine), code_(run.in<int32_t>(0)), size_(run.size(0)) {}

  void run() {
    int tensors = 0, given = 0;
    const int outputs = machine_.kernel().outputs();
    while (fine_ && at_ < size_) switch (next()) {
        case kTensor:
          if (ok(tensors + kGiven < run_.count(), "too few tensors")) add(run_.view(kGiven + tensors++), false);
          break;
        case kInts: {
          const Shape dims = next_shape();
          if (!ok(count_of(dims) <= size_ - at_, "a program that ends within its ints")) break;
          add({const_cast<int32_t*>(code_) + at_, dims}, true);
          at_ += count_of(dims);
          break;
        }
        case kRun:
          run_operation();
          break;
        case kDrop:
          if (Value* value = next_made()) *value = {};
          break;
        case kGive:
          if (Value* value = next_made(); value && ok(given < outputs, "more is given back than was said"))
            machine_.kernel().give(given++, value->tensor.get());
          break;
        default:
          ok(false, "no such instruction");
      }
    ok(given == outputs, "less is given back than was said");
  }

  float* make(int output, const Shape& dims) override {
    Value& value = values_[outputs_ + output];
    if (!ok(count_of(dims) == count_of(value.view.dims), std::string(running_) + " makes values of another size")) return nullptr;
    value.tensor = machine_.kernel().tensor(value.view.dims);
    value.there = value.tensor != nullptr;
    if (value.there) value.view.data = TF_TensorData(value.tensor.get());
    return static_cast<float*>(value.view.data);
  }
  void fail(const std::string& what) override { ok(false, std::string(running_) + ": " + what); }

 private:
  struct Value {
    View view;
    bool ints = false, there = false;
    std::shared_ptr<TF_Tensor> tensor = nullptr;  // of an operation's output
  };
  enum Instruction { kTensor, kInts, kRun, kDrop, kGive };
  static constexpr int kGiven = 1;  // the tensors' place among the inputs

  bool ok(bool condition, const std::string& what) { return fine_ = run_.ok(condition, what) && fine_; }
  int32_t next() { return ok(at_ < size_, "a program that ends too soon") ? code_[at_++] : -1; }
  int64_t count() const { return static_cast<int64_t>(values_.size()); }
  void add(View view, bool ints, bool there = true) { values_.push_back({std::move(view), ints, there}); }

  Shape next_shape() {
    Shape dims;
    for (int32_t rank = next(); fine_ && rank > 0; rank--) dims.push_back(next());
    for (int64_t n : dims) ok(n >= 0, "a negative dimension");
    return dims;
  }

  // An operation's output, by the number that comes next.
  Value* next_made() {
    const int32_t value = next();
    return ok(value >= 0 && value < count() && values_[value].tensor, "no such value") ? &values_[value] : nullptr;
  }

  void run_operation() {
    const int32_t number = next();
    if (!ok(number >= 0 && number < machine_.count(), "no such operation")) return;
    const Signature& operation = machine_.signature(number);
    running_ = operation.name;
    std::vector<View> inputs;
    for (int i = 0; i < static_cast<int>(operation.inputs.size()); i++) {
      const int32_t value = next();
      const bool fits = value >= 0 && value < count() && values_[value].there && values_[value].ints == operation.is_int(i);
      if (!ok(fits, running_ + std::string(" reads a value that is not there"))) return;
      inputs.push_back(values_[value].view);
    }
    outputs_ = count();
    for (size_t i = 0; i < operation.outputs.size(); i++) add({nullptr, next_shape()}, false, false);
    if (fine_) machine_.compute(number, *this, std::move(inputs));
  }

  Run& run_;
  Machine& machine_;
  const int32_t* code_;
  const int64_t size_;
  int64_t at_ = 0, outputs_ = 0;  // the next instruction; the first output of the operation that runs
  bool fine_ = true;
  const char* running_ = "";
  std::vector<Value> values_;
};

}  // namespace wpo
