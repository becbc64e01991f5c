// JavaScript functions of an addon: their arguments, checked, and their errors.
#pragma once
#include <cmath>
#include <string>

#include "runtime/module.h"

namespace wpo {

// The arguments of one call, by index. `what` names an argument in an error.
class Arguments {
 public:
  Arguments(napi_env env, napi_callback_info info) : env_(env) {
    require_ok(napi_get_cb_info(env, info, &count_, values_, nullptr, &data_));
  }
  napi_env env() const { return env_; }
  // What export_function was given.
  template <class T>
  T& data() const {
    return *static_cast<T*>(data_);
  }

  napi_valuetype type(size_t i) const {
    napi_valuetype type = napi_undefined;
    if (i < count_ && i < kMax) require_ok(napi_typeof(env_, values_[i], &type));
    return type;
  }

  // An integer in [0, max].
  int64_t integer(size_t i, const char* what, int64_t max = kMaxInteger) const {
    double value = NAN;
    if (type(i) == napi_number) require_ok(napi_get_value_double(env_, values_[i], &value));
    const bool fits = value >= 0 && value <= static_cast<double>(max) && std::floor(value) == value;
    require(fits, what, ": expected an integer from 0 to ", max, ", found ", describe(i, value));
    return static_cast<int64_t>(value);
  }

  std::string text(size_t i, const char* what) const {
    require(type(i) == napi_string, what, ": expected a string, found another type");
    size_t length = 0;
    require_ok(napi_get_value_string_utf8(env_, values_[i], nullptr, 0, &length));
    std::string text(length, '\0');
    require_ok(napi_get_value_string_utf8(env_, values_[i], text.data(), length + 1, &length));
    return text;
  }

  struct Array {
    void* data;
    int64_t count;
  };
  // A typed array. `name` is that of its type, for the error.
  Array array(size_t i, const char* what, napi_typedarray_type expected, const char* name) const {
    bool is_array = false;
    napi_typedarray_type element = napi_int8_array;
    size_t length = 0;
    void* data = nullptr;
    if (type(i) == napi_object) require_ok(napi_is_typedarray(env_, values_[i], &is_array));
    if (is_array) require_ok(napi_get_typedarray_info(env_, values_[i], &element, &length, &data, nullptr, nullptr));
    require(is_array && element == expected, what, ": expected ", name, ", found another type");
    return {data, static_cast<int64_t>(length)};
  }

 private:
  static constexpr size_t kMax = 8;
  static constexpr int64_t kMaxInteger = (int64_t{1} << 53) - 1;

  std::string describe(size_t i, double value) const {
    if (type(i) != napi_number) return "another type";
    std::ostringstream text;
    text.precision(17);
    text << value;
    return text.str();
  }

  napi_env env_;
  void* data_ = nullptr;
  size_t count_ = kMax;
  napi_value values_[kMax] = {};
};

// Calls `body(arguments)`; an exception becomes a JavaScript error.
template <napi_value (*Body)(Arguments&)>
napi_value call_function(napi_env env, napi_callback_info info) noexcept {
  return run_entry_point(env, [=] {
    Arguments arguments(env, info);
    return Body(arguments);
  });
}

template <napi_value (*Body)(Arguments&)>
void export_function(napi_env env, napi_value exports, const char* name, void* data) {
  napi_value function;
  require_ok(napi_create_function(env, name, NAPI_AUTO_LENGTH, call_function<Body>, data, &function));
  require_ok(napi_set_named_property(env, exports, name, function));
}

inline napi_value undefined(napi_env env) {
  napi_value value;
  require_ok(napi_get_undefined(env, &value));
  return value;
}

inline napi_value number(napi_env env, int64_t n) {
  napi_value value;
  require_ok(napi_create_int64(env, n, &value));
  return value;
}

}  // namespace wpo
