#include "gpu/nvrtc.h"

#include <cstddef>
#include <vector>

#include "gpu/dynamic-library.h"

// The sources as text
asm(R"(
  .section .rodata
  .global wpo_kernels
  .hidden wpo_kernels
wpo_kernels:
  .incbin "kernels.cu"
  .byte 0
  .global wpo_fused_attention
  .hidden wpo_fused_attention
wpo_fused_attention:
  .incbin "fused-attention.cu"
  .byte 0
  .previous
)");
extern "C" __attribute__((visibility("hidden"))) const char wpo_kernels[], wpo_fused_attention[];

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

// Compiles a source text for a compute capability.
std::string compile(const char* source, const char* name, int major, int minor, std::vector<std::string> options) {
  const Nvrtc nvrtc;
  options.push_back("--gpu-architecture=sm_" + std::to_string(major) + std::to_string(minor));
  std::vector<const char*> texts;
  for (const std::string& option : options) texts.push_back(option.c_str());
  OwnedProgram owned{nvrtc};
  size_t size = 0;
  nvrtc.create(&owned.program, source, name, 0, nullptr, nullptr);
  try {
    nvrtc.compile(owned.program, static_cast<int>(texts.size()), texts.data());
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

}  // namespace

std::string compile_kernels(int major, int minor) { return compile(wpo_kernels, "kernels.cu", major, minor, {}); }

std::string compile_fused_attention(int major, int minor, const AttentionTiles& tiles) {
  return compile(
      wpo_fused_attention, "fused-attention.cu", major, minor,
      {"-DHEAD_SIZE=" + std::to_string(tiles.head_size), "-DGRADIENT_KEYS=" + std::to_string(tiles.gradient_keys)});
}

void require_nvrtc() { Nvrtc(); }

}  // namespace wpo
