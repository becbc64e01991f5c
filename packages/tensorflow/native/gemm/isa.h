// Which instruction set (ISA) matrix products and attention use: the best one of this CPU, unless WPO_ISA limits it.
#pragma once
#include <cstdlib>
#include <cstring>
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "runtime/error.h"

namespace wpo {

// kSse stands for vectors of four floats in general: on CPUs other than x86, the compiler's own.
enum class Isa { kSse, kAvx2, kAvx512, kAvx512Bf16, kAmx };

// Compiles a kernel once for each ISA. The including file defines WPO_ISA_VARIANT(name, attribute, vector width, rows
// of a tile), which makes an `IsaVariant` of that name, and `variant(isa)` returns the one for an ISA. The rows are
// chosen so that a tile's sums fill the vector registers.
#if defined(__x86_64__)
#define WPO_ISA_VARIANTS                                                     \
  WPO_ISA_VARIANT(avx512, __attribute__((target("arch=x86-64-v4"))), 16, 14) \
  WPO_ISA_VARIANT(avx2, __attribute__((target("arch=x86-64-v3"))), 8, 6)     \
  WPO_ISA_VARIANT(sse, , 4, 4)                                               \
  const IsaVariant& variant(Isa isa) { return isa >= Isa::kAvx512 ? avx512 : isa == Isa::kAvx2 ? avx2 : sse; }
#else
#define WPO_ISA_VARIANTS       \
  WPO_ISA_VARIANT(sse, , 4, 4) \
  const IsaVariant& variant(Isa) { return sse; }
#endif

#if defined(__x86_64__)
#define WPO_AVX512_BF16 __attribute__((target("arch=x86-64-v4,avx512bf16")))
#endif

#if defined(__x86_64__) && defined(__linux__)
#define WPO_AMX __attribute__((target("arch=x86-64-v4,avx512bf16,amx-tile,amx-bf16")))
// Whether the CPU has AMX's bfloat16 tiles and the kernel permits their use, which a process must request first.
inline bool request_amx() {
  unsigned a, b, c, d, a1, b1, c1, d1;
  const bool described = __get_cpuid_count(7, 0, &a, &b, &c, &d) && __get_cpuid_count(7, 1, &a1, &b1, &c1, &d1);
  const bool present = described && (d >> 22 & 1) && (d >> 24 & 1) && (a1 >> 5 & 1);  // amx-bf16, amx-tile, avx512-bf16
  constexpr int kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return present && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
#endif

// WPO_ISA: the best ISA that may be used.
inline Isa isa_limit() {
  const char* name = std::getenv("WPO_ISA");
  if (!name || !*name || std::strcmp(name, "amx") == 0) return Isa::kAmx;
  if (std::strcmp(name, "avx512_bf16") == 0) return Isa::kAvx512Bf16;
  if (std::strcmp(name, "avx512") == 0) return Isa::kAvx512;
  if (std::strcmp(name, "avx2") == 0) return Isa::kAvx2;
  if (std::strcmp(name, "sse") == 0) return Isa::kSse;
  fail("WPO_ISA: expected amx, avx512_bf16, avx512, avx2 or sse, found ", name);
}

// The ISA to use. WPO_ISA is read each time, so that tests can use all of them in one process.
inline Isa selected_isa() {
#if defined(__x86_64__)
  static const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                                 __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
  static const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const Isa limit = isa_limit();
#ifdef WPO_AMX
  if (has_avx512 && limit == Isa::kAmx) {  // a process limited to another ISA does not request AMX
    static const bool has_amx = request_amx();
    if (has_amx) return Isa::kAmx;
  }
#endif
  static const bool has_bf16 = has_avx512 && __builtin_cpu_supports("avx512bf16");
  if (has_bf16 && limit >= Isa::kAvx512Bf16) return Isa::kAvx512Bf16;
  return has_avx512 && limit >= Isa::kAvx512 ? Isa::kAvx512 : has_avx2 && limit >= Isa::kAvx2 ? Isa::kAvx2 : Isa::kSse;
#else
  isa_limit();
  return Isa::kSse;
#endif
}

}  // namespace wpo
