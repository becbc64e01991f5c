#include "parallel.h"
#include <sched.h>
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <thread>

namespace wpo {
namespace {

using Body = std::function<void(int64_t, int64_t, int)>;

constexpr int64_t kSmall = 16384;  // values that one thread is done with before another has woken

struct Loop {
  const Body* body;
  int64_t n, piece;
  std::atomic<int64_t> next{0};

  void work(int thread) {
    for (int64_t begin; (begin = next.fetch_add(piece)) < n;) (*body)(begin, std::min(n, begin + piece), thread);
  }
};

// Workers wait for a loop's number to change, then take pieces until none is left.
class Pool {
 public:
  explicit Pool(int count) : count_(count) {
    for (int i = 1; i < count; i++) std::thread([this, i] { serve(i); }).detach();
  }

  void run(Loop& loop) {
    std::lock_guard<std::mutex> one_at_a_time(entry_);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      loop_ = &loop;
      busy_.store(count_ - 1);
      number_.fetch_add(1);
    }
    wake_.notify_all();
    loop.work(0);
    while (busy_.load() > 0) std::this_thread::yield();
  }

 private:
  void serve(int thread) {
    for (int64_t seen = 0;;) {
      // The next loop is mostly a few microseconds away: look for it before sleeping.
      for (int spin = 0; spin < 10000 && number_.load() == seen; spin++) relax();
      if (number_.load() == seen) {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return number_.load() != seen; });
      }
      seen = number_.load();
      loop_->work(thread);
      busy_.fetch_sub(1);
    }
  }
  static void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    std::this_thread::yield();
#endif
  }

  const int count_;
  Loop* loop_ = nullptr;
  std::atomic<int64_t> number_{0};
  std::atomic<int> busy_{0};
  std::mutex entry_, mutex_;
  std::condition_variable wake_;
};

int count_threads() {
  if (const char* asked = std::getenv("WPO_THREADS")) {
    int n = std::atoi(asked);
    if (n > 0) return n;
  }
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

}  // namespace

int threads() {
  static const int n = count_threads();
  return n;
}

void parallel(int64_t n, int64_t cost, const Body& body) {
  if (n <= 0) return;
  if (threads() == 1 || n * cost < kSmall) return body(0, n, 0);
  static Pool* pool = new Pool(threads());  // never freed: its threads outlive main
  Loop loop;
  loop.body = &body;
  loop.n = n;
  loop.piece = std::max<int64_t>(1, n / (threads() * 8));
  pool->run(loop);
}

}  // namespace wpo
