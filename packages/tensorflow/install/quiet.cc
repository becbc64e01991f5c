// TensorFlow's framework library reads TF_CPP_MIN_LOG_LEVEL while it is loaded,
// and logs before that ("oneDNN custom operations are on", whatever the level).
// This addon loads it with stderr held back, and then passes on all of what was
// said but notes of severity INFO, and absl's remark that logging has not begun
// yet.
#include <dlfcn.h>
#include <node_api.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

namespace {

const char kRemark[] = "WARNING: All log messages before absl::InitializeLog()";

std::string ReadAll(int file) {
  std::string text;
  char part[4096];
  lseek(file, 0, SEEK_SET);
  for (ssize_t n; (n = read(file, part, sizeof part)) > 0;) text.append(part, n);
  return text;
}

// absl's lines begin with the severity's letter and the date, "I0000
// 00:00:..."; here, any digit after the letter.
bool IsNote(const std::string& line) {
  return line.rfind(kRemark, 0) == 0 || (line.size() > 1 && line[0] == 'I' && line[1] >= '0' && line[1] <= '9');
}

void PassOn(const std::string& text) {
  for (size_t start = 0; start < text.size();) {
    size_t end = text.find('\n', start);
    end = end == std::string::npos ? text.size() : end + 1;
    const std::string line = text.substr(start, end - start);
    if (!IsNote(line) && write(STDERR_FILENO, line.data(), line.size()) < 0) return;
    start = end;
  }
}

// The library lies where this addon's own search path leads.
void LoadFramework() { dlopen("libtensorflow_framework.so.2", RTLD_LAZY | RTLD_LOCAL); }

}  // namespace

NAPI_MODULE_INIT() {
  const char* level = std::getenv("TF_CPP_MIN_LOG_LEVEL");
  if (level == nullptr || std::atoi(level) < 1) return exports;
  const int held = memfd_create("tensorflow-log", MFD_CLOEXEC);
  const int standard_error = dup(STDERR_FILENO);
  if (held >= 0 && standard_error >= 0) {
    dup2(held, STDERR_FILENO);
    LoadFramework();
    dup2(standard_error, STDERR_FILENO);
    PassOn(ReadAll(held));
  }
  if (standard_error >= 0) close(standard_error);
  if (held >= 0) close(held);
  return exports;
}
