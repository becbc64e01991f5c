#include "runtime/mapped-file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstring>
#include <mutex>

#include "runtime/error.h"

namespace wpo {

// In a list of all mappings that there ever were. They are not freed, because a signal handler may read them at any
// time.
struct Watched {
  char* const start;
  std::atomic<size_t> bytes;  // whole pages; 0 once the mapping has ended
  std::atomic<bool> lost{false};
  Watched* const next;
};

namespace {

std::atomic<Watched*> all_watched{nullptr};
size_t page_bytes = 0;
struct sigaction previous = {};

// Makes zeros of a page that cannot be read, and of those after it, in one go. Whether `at` is in a mapped file.
// POSIX does not list mmap among the functions that a signal handler may call; on Linux it is only a system call.
bool replace_pages(char* at) {
  for (Watched* one = all_watched.load(); one; one = one->next) {
    char* const end = one->start + one->bytes.load();
    if (at < one->start || at >= end) continue;
    char* const page = one->start + static_cast<size_t>(at - one->start) / page_bytes * page_bytes;
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
    if (mmap(page, static_cast<size_t>(end - page), PROT_READ, flags, -1, 0) == MAP_FAILED) return false;
    one->lost.store(true);
    return true;
  }
  return false;
}

void on_bus_error(int signal, siginfo_t* info, void* context) {
  const int error = errno;
  const bool is_fault = info->si_code > 0;  // not sent by a process
  const bool replaced = is_fault && replace_pages(static_cast<char*>(info->si_addr));
  errno = error;
  if (replaced) return;  // the thread reads the page again
  if (previous.sa_flags & SA_SIGINFO) return previous.sa_sigaction(signal, info, context);
  if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) return previous.sa_handler(signal);
  struct sigaction standard = {};
  standard.sa_handler = SIG_DFL;
  sigaction(signal, &standard, nullptr);
  raise(signal);  // ends the process when this handler returns
}

Watched* watch(char* start, size_t bytes) {
  static std::mutex mutex;
  const std::lock_guard<std::mutex> lock(mutex);
  if (page_bytes == 0) {
    page_bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    struct sigaction action = {};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &previous);
  }
  const size_t pages = (bytes + page_bytes - 1) / page_bytes;
  all_watched.store(new Watched{start, {pages * page_bytes}, {false}, all_watched.load()});
  return all_watched.load();
}

// The path under which a file was opened, or its path by now if it was renamed.
std::string path_of(int file) {
  char path[PATH_MAX];
  const ssize_t length = readlink(("/proc/self/fd/" + std::to_string(file)).c_str(), path, sizeof path);
  return length < 0 ? "a file" : std::string(path, static_cast<size_t>(length));
}

}  // namespace

MappedFile::MappedFile(int file) : file_(fcntl(file, F_DUPFD_CLOEXEC, 0)), path_(path_of(file)) {
  const auto fail = [this] {
    const int error = errno;
    if (file_ >= 0) close(file_);
    throw std::runtime_error(path_ + ": " + std::strerror(error));
  };
  if (file_ < 0 || fstat(file_, &found_) != 0) fail();
  if (found_.st_size == 0) return;
  void* const memory = mmap(nullptr, static_cast<size_t>(bytes()), PROT_READ, MAP_SHARED, file_, 0);
  if (memory == MAP_FAILED) fail();
  data_ = memory;
  watched_ = watch(static_cast<char*>(data_), static_cast<size_t>(bytes()));
}

MappedFile::~MappedFile() {
  if (watched_) watched_->bytes.store(0);
  if (data_) munmap(data_, static_cast<size_t>(bytes()));
  close(file_);
}

void MappedFile::require_unchanged() const {
  struct stat now = {};
  const bool is_open = fstat(file_, &now) == 0;
  const bool has_size = is_open && now.st_size == found_.st_size;
  const bool has_time =
      is_open && now.st_mtim.tv_sec == found_.st_mtim.tv_sec && now.st_mtim.tv_nsec == found_.st_mtim.tv_nsec;
  const bool is_lost = watched_ && watched_->lost.load();
  if (has_size && has_time && !is_lost) return;
  const std::string expected = path_ + ": expected a file that does not change while its model is in use, ";
  require(has_size, expected, "found that its size changed from ", found_.st_size, " to ", now.st_size, " bytes");
  require(has_time, expected, "found that it was written to");
  fail(path_, ": expected a file that can be read, found a part that the system could not read");
}

}  // namespace wpo
