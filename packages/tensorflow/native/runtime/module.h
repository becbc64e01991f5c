// What both addons' entry points share.
#pragma once
#include <node_api.h>

#include <exception>
#include <stdexcept>

#include "runtime/operation.h"

namespace wpo {

inline void require_ok(napi_status status) {
  if (status != napi_ok) throw std::runtime_error("a Node-API call failed with status " + std::to_string(status));
}

// Returns `body()`'s value to JavaScript; an exception becomes a JavaScript error.
template <class Body>
napi_value run_entry_point(napi_env env, Body body) noexcept {
  try {
    return body();
  } catch (const std::exception& error) {
    napi_throw_error(env, nullptr, error.what());
  } catch (...) {
    napi_throw_error(env, nullptr, "an unknown C++ exception");
  }
  return nullptr;
}

inline void export_string(napi_env env, napi_value exports, const char* name, const std::string& text) {
  napi_value value;
  require_ok(napi_create_string_utf8(env, text.data(), text.size(), &value));
  require_ok(napi_set_named_property(env, exports, name, value));
}

// Exports `operations`: the kernels' names, in the order of their numbers in a program.
template <class Context>
void export_operations(napi_env env, napi_value exports) {
  napi_value names, name;
  require_ok(napi_create_array(env, &names));
  uint32_t count = 0;
  for (const Kernel<Context>& kernel : kernels<Context>()) {
    require_ok(napi_create_string_utf8(env, kernel.signature->name, NAPI_AUTO_LENGTH, &name));
    require_ok(napi_set_element(env, names, count++, name));
  }
  require_ok(napi_set_named_property(env, exports, "operations", names));
}

}  // namespace wpo
