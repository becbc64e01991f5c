// The JavaScript functions of a store, as an addon's export `store`:
//
//   allocate(bytes): id                        zeros, aligned to 64 bytes
//   allocatePinned(bytes): id                  zeros in memory of the CPU, for operations that copy. On a GPU only
//   allocateForStep(bytes): id                 no values: memory that is freed within a step, such as that of gradients
//   map(path, bytes?): id                      a whole file; throws if it does not have `bytes` bytes. Not on a GPU
//   address(id): bigint                        where an allocated arena is, until it is freed. Not on a GPU
//   free(id)                                   a program that runs keeps the memory until it ends
//   bytes(): { allocated, mapped, pinned? }    of all arenas; `pinned` on a GPU only
//   read(id, offset, file, fileOffset, count, fileType, type)    `count` values from a file into an allocated arena
//   write(id, offset, file, fileOffset, count, type, fileType)   and from an arena into a file
//   get(id, offset, count, type): array                          a copy
//   set(id, offset, values: array, type)
//
// `offset` is in bytes, a multiple of the size of a value; `file` is a path or a file descriptor. Types are F32, BF16,
// I16 and U8, and F16 in a file that is read. An array is a Float32Array, or an Int16Array or Uint8Array of such
// values. Floats are rounded to the nearest, ties to even. Values of I16 and U8 are not converted.
#pragma once
#include <node_api.h>

#include "runtime/store.h"

namespace wpo {

// Where the arenas of an addon are.
class StoreMemory {
 public:
  virtual ~StoreMemory() = default;
  // Memory with zeros.
  virtual std::shared_ptr<void> allocate(int64_t bytes) = 0;
  // Memory without values, which is freed within a step.
  virtual std::shared_ptr<void> allocate_for_step(int64_t bytes) = 0;
  // Memory of the CPU through which values are copied, of kStagingBytes; null where arenas are the CPU's own memory,
  // which needs no copies.
  static constexpr int64_t kStagingBytes = 1 << 25;
  virtual char* staging() = 0;
  // Copies are complete when these return.
  virtual void copy_in(void* to, const void* from, int64_t bytes) = 0;
  virtual void copy_out(void* to, const void* from, int64_t bytes) = 0;
  // Memory of the CPU with zeros, which operations copy from and to (gpu/device.h).
  virtual std::shared_ptr<void> allocate_pinned(int64_t bytes) = 0;
  // Waits until all queued work has run.
  virtual void synchronize() = 0;
};

// The CPU's memory.
StoreMemory& host_memory();

void export_store(napi_env env, napi_value exports, StoreMemory& memory);

}  // namespace wpo
