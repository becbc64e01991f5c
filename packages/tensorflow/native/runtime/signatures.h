// The table of all operations: name, inputs and outputs, in TensorFlow's notation. The CPU addon defines them all; it
// and the GPU addon register kernels for them by name. In a program (program.h), an input or output of type
// `float|bfloat16` may be either, and so for other types; TensorFlow itself passes float32 only.
#pragma once
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "runtime/types.h"

namespace wpo {

struct Signature {
  const char* name;
  std::vector<const char*> inputs, outputs;
  std::vector<const char*> attributes = {};

  // int32 inputs stay in CPU memory, also where the operation runs on a GPU.
  bool is_int32(size_t input) const { return std::strstr(inputs[input], ": int32") != nullptr; }
  // Whether an input may have this type.
  bool accepts(size_t input, Type type) const {
    if (type == Type::kFloat32 || type == Type::kInt32) return is_int32(input) == (type == Type::kInt32);
    return std::strstr(inputs[input], (std::string("|") + name_of(type)).c_str()) != nullptr;
  }
  // Of an input or output.
  static bool may_be_bf16(const char* text) { return std::strstr(text, "|bfloat16") != nullptr; }
  // An input or output as TensorFlow defines it.
  static std::string definition(const std::string& text) { return text.substr(0, text.find('|')); }
  std::string input_name(size_t input) const { return std::string(inputs[input], std::strchr(inputs[input], ':')); }
  // Whether an input is a list of tensors, whose length is an attribute.
  bool is_list(size_t input) const { return std::strstr(inputs[input], " * ") != nullptr; }
  // Whether an input is stored in pinned memory of the CPU, also where the operation runs on a GPU.
  bool is_pinned(size_t input) const { return std::strncmp(inputs[input], "pinned", 6) == 0; }
  bool returns_list() const { return std::strstr(outputs[0], " * ") != nullptr; }
};

// `params` are float32 values passed as int32 bits (OpContext::params).
inline const std::vector<Signature>& signatures() {
  // the tensors of an optimizer's parameters (elementwise/updates.h)
  constexpr const char* kUpdated = "tensors: N * float|bfloat16|int16|uint8";
  static const std::vector<Signature> table = {
      // gemm/
      {"WpoProduct", {"a: float|bfloat16", "b: float|bfloat16"}, {"c: float|bfloat16"}},
      {"WpoProductNT", {"a: float|bfloat16", "b: float|bfloat16"}, {"c: float|bfloat16"}},
      {"WpoProductTN", {"a: float|bfloat16", "b: float|bfloat16"}, {"c: float|bfloat16"}},
      {"WpoProductTT", {"a: float|bfloat16", "b: float|bfloat16"}, {"c: float|bfloat16"}},
      {"WpoGatedProduct", {"gate: float|bfloat16", "up: float|bfloat16", "w: float|bfloat16"}, {"y: float|bfloat16"}},
      {"WpoGatedProductGrad", {"dy: float|bfloat16", "gate: float|bfloat16", "up: float|bfloat16"}, {"dw: float"}},
      {"WpoAddProduct", {"into: float", "a: float|bfloat16", "b: float|bfloat16"}, {"done: float"}},
      {"WpoAddProductNT", {"into: float", "a: float|bfloat16", "b: float|bfloat16"}, {"done: float"}},
      {"WpoAddProductTN", {"into: float", "a: float|bfloat16", "b: float|bfloat16"}, {"done: float"}},
      {"WpoAddProductTT", {"into: float", "a: float|bfloat16", "b: float|bfloat16"}, {"done: float"}},
      {"WpoAddGatedProductGrad",
       {"into: float", "dy: float|bfloat16", "gate: float|bfloat16", "up: float|bfloat16"},
       {"done: float"}},
      {"WpoLinearRows", {"x: float|bfloat16", "w: float|bfloat16"}, {"y: float|bfloat16"}},
      {"WpoLinearRowsToHeads", {"x: float|bfloat16", "w: float|bfloat16", "heads: int32"}, {"y: float|bfloat16"}},
      {"WpoLinearRowsFromHeads", {"x: float|bfloat16", "w: float|bfloat16"}, {"y: float|bfloat16"}},
      // attention/
      {"WpoAttention",
       {"q: float|bfloat16", "k: float|bfloat16", "v: float|bfloat16", "query_blocks: int32", "params: int32"},
       {"o: float|bfloat16"}},
      {"WpoAttentionGrad",
       {"dy: float|bfloat16", "q: float|bfloat16", "k: float|bfloat16", "v: float|bfloat16", "query_blocks: int32",
        "params: int32"},
       {"dq: float", "dk: float", "dv: float"}},
      // on GPUs only
      {"WpoFusedAttention",
       {"q: float|bfloat16", "k: float|bfloat16", "v: float|bfloat16", "query_blocks: int32", "params: int32"},
       {"o: float|bfloat16", "log_sums: float"}},
      {"WpoFusedAttentionGrad",
       {"dy: float|bfloat16", "q: float|bfloat16", "k: float|bfloat16", "v: float|bfloat16", "o: float|bfloat16",
        "log_sums: float", "query_blocks: int32", "params: int32"},
       {"dq: float", "dk: float", "dv: float"}},
      {"WpoDecodeAttention",
       {"q: float|bfloat16", "k: float", "v: float", "key_ranges: int32", "params: int32"},
       {"o: float|bfloat16"}},
      // elementwise/
      {"WpoRmsNorm",
       {"x: float|bfloat16", "w: float|bfloat16", "params: int32", "residual: float|bfloat16"},
       {"y: float|bfloat16", "r: float"}},
      {"WpoRmsNormGrad",
       {"dy: float", "x: float|bfloat16", "r: float", "w: float|bfloat16"},
       {"dx: float|bfloat16", "dw: float"}},
      {"WpoRope", {"x: float|bfloat16", "cos: float", "sin: float", "direction: int32"}, {"y: float|bfloat16"}},
      {"WpoGeglu", {"gate: float|bfloat16", "up: float|bfloat16"}, {"y: float|bfloat16"}},
      {"WpoGegluGrad",
       {"dy: float|bfloat16", "gate: float|bfloat16", "up: float|bfloat16"},
       {"dgate: float|bfloat16", "dup: float|bfloat16"}},
      {"WpoDropout", {"x: float|bfloat16", "keys: int32", "params: int32"}, {"y: float|bfloat16"}},
      {"WpoAnswerTerms", {"raw: float", "targets: int32", "params: int32"}, {"terms: float"}},
      {"WpoCapLogits", {"raw: float", "cap: int32"}, {"logits: float"}},
      {"WpoAdd", {"into: float", "x: float|bfloat16"}, {"done: float"}},
      {"WpoAddRows", {"into: float", "indices: int32", "x: float"}, {"done: float"}},
      {"WpoSpreadRows", {"indices: int32", "x: float", "count: int32"}, {"y: float"}},
      {"WpoScaledRows", {"x: float|bfloat16", "indices: int32", "factor: int32"}, {"y: float|bfloat16"}},
      {"WpoSetColumns", {"into: float", "columns: int32", "values: float|bfloat16"}, {"done: float"}},
      {"WpoFloats", {"bits: int32"}, {"values: float"}},
      {"WpoSquareSums", {"x: N * float|bfloat16"}, {"y: float"}, {"N: int >= 1"}},
      {"WpoAdamW", {"params: int32", "keys: int32", kUpdated}, {"done: float"}, {"N: int >= 1"}},
      {"WpoAdamW8bit", {"params: int32", "keys: int32", kUpdated}, {"done: float"}, {"N: int >= 1"}},
      {"WpoAdamWMean8bit", {"params: int32", "keys: int32", kUpdated}, {"done: float"}, {"N: int >= 1"}},
      {"WpoLion", {"params: int32", "keys: int32", kUpdated}, {"done: float"}, {"N: int >= 1"}},
      {"WpoSgd", {"params: int32", "keys: int32", kUpdated}, {"done: float"}, {"N: int >= 1"}},
      {"WpoAdafactor", {"params: int32", "keys: int32", kUpdated}, {"done: float"}, {"N: int >= 1"}},
      {"WpoAdafactorVector", {"params: int32", "keys: int32", kUpdated}, {"done: float"}, {"N: int >= 1"}},
      // gpu/copies.cc, on a GPU only
      {"WpoCopyToPinned", {"pinned: float|bfloat16|int16|uint8", "x: float|bfloat16|int16|uint8"}, {"done: float"}},
      {"WpoCopyFromPinned",
       {"into: float|bfloat16|int16|uint8", "pinned: float|bfloat16|int16|uint8"},
       {"done: float"}},
      {"WpoWaitForCopies", {"x: float|bfloat16|int16|uint8"}, {"done: float"}},
      // runtime/
      {"WpoProgram", {"code: int32", "tensors: N * float"}, {"y: M * float"}, {"N: int >= 0", "M: int >= 0"}},
  };
  return table;
}

inline const Signature& signature_of(const char* name) {
  for (const Signature& signature : signatures())
    if (std::strcmp(signature.name, name) == 0) return signature;
  throw std::logic_error(std::string(name) + " is not in runtime/signatures.h");
}

}  // namespace wpo
