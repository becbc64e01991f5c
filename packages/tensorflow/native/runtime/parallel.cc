#include "runtime/parallel.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cfenv>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>

#include "runtime/error.h"

namespace wpo {
namespace {

using Body = std::function<void(int64_t, int64_t, int)>;

constexpr int64_t kSmall = 16384;  // for fewer values, one thread finishes before another wakes up
constexpr int kMaxThreads = 1024;

struct Loop {
  const Body* body;
  int64_t n, piece;
  std::atomic<int64_t> next{0};
  std::mutex error_mutex{};
  std::exception_ptr error{};

  void work(int thread) noexcept {
    try {
      for (int64_t begin; (begin = next.fetch_add(piece)) < n;) (*body)(begin, std::min(n, begin + piece), thread);
    } catch (...) {
      next.store(n);  // the other threads finish their pieces and take no more
      const std::lock_guard<std::mutex> lock(error_mutex);
      if (!error) error = std::current_exception();
    }
  }
};

// Workers wait for the loop's number to change, then take pieces until none is left. TensorFlow's threads take
// subnormal numbers for 0, and other threads do not, so a worker gets the floating-point environment of the thread that
// calls: otherwise the bits of a result would depend on the thread that computes it.
class Pool {
 public:
  explicit Pool(int count) {
    try {
      for (; workers_ < count - 1; workers_++) std::thread([this, i = workers_ + 1] { serve(i); }).detach();
    } catch (const std::exception&) {
      // The system allows no more threads, or has no memory for one: use those that have started.
    }
  }

  void run(Loop& loop) {
    const std::lock_guard<std::mutex> one_loop_at_a_time(entry_);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      loop_ = &loop;
      std::fegetenv(&environment_);
      busy_.store(workers_);
      number_.fetch_add(1);
    }
    wake_.notify_all();
    loop.work(0);
    while (busy_.load() > 0) std::this_thread::yield();
  }

 private:
  void serve(int thread) {
    for (int64_t seen = 0;;) {
      // The next loop usually starts within a few microseconds: spin before sleeping.
      for (int spin = 0; spin < 10000 && number_.load() == seen; spin++) relax();
      if (number_.load() == seen) {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return number_.load() != seen; });
      }
      seen = number_.load();
      std::fesetenv(&environment_);
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

  int workers_ = 0;
  Loop* loop_ = nullptr;
  std::fenv_t environment_ = {};
  std::atomic<int64_t> number_{0};
  std::atomic<int> busy_{0};
  std::mutex entry_, mutex_;
  std::condition_variable wake_;
};

int count_threads() {
  if (const char* requested = std::getenv("WPO_THREADS")) {
    const int n = std::atoi(requested);
    if (n > 0) return std::min(n, kMaxThreads);
  }
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace

int threads() {
  static const int n = count_threads();
  return n;
}

void parallel(int64_t n, int64_t cost, const Body& body) {
  if (n <= 0) return;
  if (threads() == 1 || saturated_product(n, cost) < kSmall) return body(0, n, 0);
  static Pool* pool = new Pool(threads());  // never freed: its threads outlive main
  Loop loop{&body, n, std::max<int64_t>(1, n / (threads() * 8))};
  pool->run(loop);
  if (loop.error) std::rethrow_exception(loop.error);
}

}  // namespace wpo
