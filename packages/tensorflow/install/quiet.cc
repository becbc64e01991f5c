// TensorFlow's framework library logs while it is loaded ("oneDNN custom operations are on"), before it reads
// TF_CPP_MIN_LOG_LEVEL. This addon captures stderr while it loads the library. Then it prints what was captured,
// without lines of severity INFO and without absl's warning that logging is not initialized.
#include <dlfcn.h>
#include <node_api.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

namespace {

const char kAbslWarning[] = "WARNING: All log messages before absl::InitializeLog()";

std::string read_all(int file) {
  std::string text;
  char part[4096];
  lseek(file, 0, SEEK_SET);
  for (ssize_t n; (n = read(file, part, sizeof part)) > 0;) text.append(part, n);
  return text;
}

// absl's lines begin with the severity's letter and the date: "I0000 00:00:...".
bool is_info_line(const std::string& line) {
  return line.rfind(kAbslWarning, 0) == 0 || (line.size() > 1 && line[0] == 'I' && line[1] >= '0' && line[1] <= '9');
}

void print_without_info(const std::string& text) {
  for (size_t start = 0; start < text.size();) {
    size_t end = text.find('\n', start);
    end = end == std::string::npos ? text.size() : end + 1;
    const std::string line = text.substr(start, end - start);
    if (!is_info_line(line) && write(STDERR_FILENO, line.data(), line.size()) < 0) return;
    start = end;
  }
}

// The addon's own search path (rpath) contains the library's folder.
void load_framework() { dlopen("libtensorflow_framework.so.2", RTLD_LAZY | RTLD_LOCAL); }

}  // namespace

NAPI_MODULE_INIT() {
  const char* level = std::getenv("TF_CPP_MIN_LOG_LEVEL");
  if (level == nullptr || std::atoi(level) < 1) return exports;
  const int captured = memfd_create("tensorflow-log", MFD_CLOEXEC);
  const int standard_error = dup(STDERR_FILENO);
  if (captured >= 0 && standard_error >= 0) {
    dup2(captured, STDERR_FILENO);
    load_framework();
    dup2(standard_error, STDERR_FILENO);
    print_without_info(read_all(captured));
  }
  if (standard_error >= 0) close(standard_error);
  if (captured >= 0) close(captured);
  return exports;
}
