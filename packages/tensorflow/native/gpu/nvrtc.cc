#include "gpu/nvrtc.h"

#include <cstddef>

#include "gpu/dynamic-library.h"

// kernels.cu as text
asm(R"(
  .section .rodata
  .global wpo_kernels
  .hidden wpo_kernels
wpo_kernels:
  .incbin "kernels.cu"
  .byte 0
  .previous
)");
extern "C" __attribute__((visibility("hidden"))) const char wpo_kernels[];

namespace wpo {
namespace {

using Program = void*;  // nvrtcProgram

// The functions of nvrtc.h.
struct Nvrtc {
  void* library = open_library({"libnvrtc.so.12", "libnvrtc.so.13"});
  Function<Program*, const char*, const char*, int, const char* const*, const char* const*> create{
      library, "nvrtcCreateProgram"};
  Function<Program, int, const char* const*> compile{library, "nvrtcCompileProgram"};
  Function<Program, size_t*> cubin_size{library, "nvrtcGetCUBINSize"};
  Function<Program, char*> cubin{library, "nvrtcGetCUBIN"};
  Function<Program, size_t*> log_size{library, "nvrtcGetProgramLogSize"};
  Function<Program, char*> log{library, "nvrtcGetProgramLog"};
  Function<Program*> destroy{library, "nvrtcDestroyProgram"};
};

struct OwnedProgram {
  const Nvrtc& nvrtc;
  Program program = nullptr;
  ~OwnedProgram() {
    try {
      if (program) nvrtc.destroy(&program);
    } catch (const std::exception&) {
      // a leak at worst
    }
  }
};

}  // namespace

std::string compile_kernels(int major, int minor) {
  const Nvrtc nvrtc;
  const std::string target = "--gpu-architecture=sm_" + std::to_string(major) + std::to_string(minor);
  const char* options[] = {target.c_str()};
  OwnedProgram owned{nvrtc};
  size_t size = 0;
  nvrtc.create(&owned.program, wpo_kernels, "kernels.cu", 0, nullptr, nullptr);
  try {
    nvrtc.compile(owned.program, 1, options);
  } catch (const std::exception& error) {
    nvrtc.log_size(owned.program, &size);
    std::string log(size, '\0');
    nvrtc.log(owned.program, log.data());
    throw std::runtime_error(error.what() + (":\n" + log));
  }
  nvrtc.cubin_size(owned.program, &size);
  std::string cubin(size, '\0');
  nvrtc.cubin(owned.program, cubin.data());
  return cubin;
}

void require_nvrtc() { Nvrtc(); }

}  // namespace wpo
