// The store: memory of this addon for values that are not TensorFlow's tensors, such as weights. It consists
// of arenas, which a program reads by their ids (program.h). An arena is allocated, or is a file that is mapped
// read-only: the operating system reads its pages when they are used first, and may drop them when memory is short.
#pragma once
#include <map>
#include <memory>
#include <mutex>

#include "runtime/error.h"
#include "runtime/mapped-file.h"

namespace wpo {

struct Arena {
  enum Kind { kAllocated, kMapped, kPinned };

  std::shared_ptr<void> memory;
  int64_t bytes;
  std::shared_ptr<const MappedFile> mapped = nullptr;  // the file, which is read-only; null if memory was allocated
  bool pinned = false;  // memory of the CPU that a GPU copies from and to; its other operations do not use it

  Kind kind() const { return mapped ? kMapped : pinned ? kPinned : kAllocated; }

  // Throws unless `bytes_` bytes from `offset` are within the arena.
  void require_range(int64_t offset, int64_t length) const {
    require(offset >= 0 && length >= 0 && offset <= bytes && length <= bytes - offset, "expected a range within ",
            bytes, " bytes, found ", length, " bytes from ", offset);
  }
  char* at(int64_t offset) const { return static_cast<char*>(memory.get()) + offset; }
};

// All arenas. Its functions may be called by several threads: each of Node's worker threads loads the addon.
class Store {
 public:
  // Returns the arena's id, a positive int32 that is never used again.
  int32_t add(Arena arena) {
    const std::lock_guard<std::mutex> lock(mutex_);
    require(last_id_ < INT32_MAX, "expected at most ", INT32_MAX, " arenas in the life of a process");
    arenas_.emplace(last_id_ + 1, std::make_shared<const Arena>(std::move(arena)));
    return ++last_id_;
  }
  // The arena stays in memory as long as the result.
  std::shared_ptr<const Arena> find(int64_t id) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return entry(id)->second;
  }
  void free(int64_t id) {
    const std::lock_guard<std::mutex> lock(mutex_);
    arenas_.erase(entry(id));
  }
  // Bytes of all arenas of a kind.
  int64_t bytes(Arena::Kind kind) {
    const std::lock_guard<std::mutex> lock(mutex_);
    int64_t sum = 0;
    for (const auto& [id, arena] : arenas_) sum += arena->kind() == kind ? arena->bytes : 0;
    return sum;
  }

 private:
  std::map<int64_t, std::shared_ptr<const Arena>>::iterator entry(int64_t id) {
    const auto found = arenas_.find(id);
    require(found != arenas_.end(), "arena ", id, " does not exist or was freed");
    return found;
  }

  std::mutex mutex_;
  std::map<int64_t, std::shared_ptr<const Arena>> arenas_;
  int32_t last_id_ = 0;
};

// This addon's store. It is never freed, because threads may use it while the process ends.
inline Store& store() {
  static Store* const all = new Store();
  return *all;
}

}  // namespace wpo
