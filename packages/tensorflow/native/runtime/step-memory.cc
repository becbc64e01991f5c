#include "runtime/step-memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <mutex>
#include <new>

namespace wpo {
namespace {

class StepMemory {
 public:
  void* allocate(int64_t bytes) {
    const size_t size = whole_pages(bytes);
    const std::lock_guard<std::mutex> lock(mutex_);
    auto best = free_.end();
    for (auto piece = free_.begin(); piece != free_.end(); piece++)
      if (piece->second >= size && (best == free_.end() || piece->second < best->second)) best = piece;
    if (best != free_.end()) return take(best, size);
    give_back(size);
    void* memory = map(size);
    if (memory != MAP_FAILED) return memory;
    give_back(SIZE_MAX);
    memory = map(size);
    return memory == MAP_FAILED ? nullptr : memory;
  }

  void free(void* memory, int64_t bytes) noexcept {
    char* const start = static_cast<char*>(memory);
    const size_t size = whole_pages(bytes);
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto next = free_.lower_bound(start);
    const bool joins_next = next != free_.end() && start + size == next->first;
    if (next != free_.begin()) {
      const auto before = std::prev(next);
      if (before->first + before->second == start) {
        before->second += size + (joins_next ? next->second : 0);
        if (joins_next) free_.erase(next);
        return;
      }
    }
    if (joins_next) {
      auto node = free_.extract(next);
      node.key() = start;
      node.mapped() += size;
      free_.insert(std::move(node));
      return;
    }
    try {
      free_.emplace(start, size);
    } catch (const std::bad_alloc&) {
      munmap(start, size);
    }
  }

 private:
  using Pieces = std::map<char*, size_t>;  // their sizes by their addresses

  static size_t whole_pages(int64_t bytes) {
    static const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    return (static_cast<size_t>(bytes) + page - 1) / page * page;
  }
  static void* map(size_t size) {
    return mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  }

  // The start of a free piece; the rest stays free.
  char* take(Pieces::iterator piece, size_t size) {
    auto node = free_.extract(piece);
    char* const memory = node.key();
    node.key() += size;
    node.mapped() -= size;
    if (node.mapped() > 0) free_.insert(std::move(node));
    return memory;
  }

  // Gives `size` bytes of free pieces back to the system, or all if they have less; those of the largest first.
  void give_back(size_t size) {
    while (size > 0 && !free_.empty()) {
      const auto largest = std::max_element(free_.begin(), free_.end(),
                                            [](const auto& a, const auto& b) { return a.second < b.second; });
      const size_t given = std::min(size, largest->second), rest = largest->second - given;
      if (munmap(largest->first + rest, given) != 0) return;
      size -= given;
      largest->second = rest;
      if (rest == 0) free_.erase(largest);
    }
  }

  std::mutex mutex_;
  Pieces free_;  // no two of them are neighbours
};

// Never destroyed, because threads may use it while the process ends.
StepMemory& step_memory() {
  static StepMemory* const memory = new StepMemory();
  return *memory;
}

}  // namespace

void* allocate_step_memory(int64_t bytes) { return step_memory().allocate(bytes); }
void free_step_memory(void* memory, int64_t bytes) noexcept { step_memory().free(memory, bytes); }

}  // namespace wpo
