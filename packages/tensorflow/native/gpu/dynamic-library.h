// Functions of libraries that are loaded by name, so that the addon builds, and loads, where they are not installed.
#pragma once
#include <dlfcn.h>

#include <initializer_list>
#include <stdexcept>
#include <string>

namespace wpo {

// The first of these libraries that can be loaded.
inline void* open_library(std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (void* library = dlopen(name, RTLD_NOW)) return library;
  throw std::runtime_error(std::string(*names.begin()) + " cannot be loaded: " + dlerror());
}

// A C function that takes these arguments and returns 0, or an error code, which becomes an exception.
template <class... Arguments>
class Function {
 public:
  Function(void* library, const char* name)
      : name_(name), function_(reinterpret_cast<int (*)(Arguments...)>(dlsym(library, name))) {
    if (!function_) throw std::runtime_error(std::string(name) + " is not in its library: another version is expected");
  }
  void operator()(Arguments... arguments) const {
    if (const int code = function_(arguments...))
      throw std::runtime_error(std::string(name_) + " failed with code " + std::to_string(code));
  }

 private:
  const char* name_;
  int (*function_)(Arguments...);
};

}  // namespace wpo
