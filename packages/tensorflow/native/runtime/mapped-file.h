// A file that is mapped read-only.
//
// The system sends SIGBUS to a thread that reads a page which it cannot get from the file: the file was truncated, or
// its disk or server failed. By default that ends the process. Here the page and those after it become zeros, and the
// file counts as changed, which is an error once the computation has ended.
#pragma once
#include <sys/stat.h>

#include <cstdint>
#include <string>

namespace wpo {

struct Watched;  // what the signal handler knows of a mapping

class MappedFile {
 public:
  // Maps all bytes of an open file, of which it keeps a descriptor. Throws if the file cannot be mapped.
  explicit MappedFile(int file);
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  void* data() const { return data_; }  // null for an empty file
  int64_t bytes() const { return found_.st_size; }
  // Throws if a page could not be read, or the file has another size or modification time than when it was mapped.
  void require_unchanged() const;

 private:
  int file_;
  std::string path_;
  struct stat found_ = {};
  void* data_ = nullptr;
  Watched* watched_ = nullptr;
};

}  // namespace wpo
