#include "runtime/store-functions.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "runtime/arguments.h"
#include "runtime/file-values.h"
#include "runtime/scratch.h"

namespace wpo {
namespace {

constexpr int64_t kMaxBytes = int64_t{1} << 46;

[[noreturn]] void fail_with_errno(const std::string& what, int error) {
  throw std::runtime_error(what + ": " + std::strerror(error));
}

// An open file: a descriptor of the caller's, or a path.
class File {
 public:
  File(const std::string& path, int flags) : file_(open(path.c_str(), flags | O_CLOEXEC)), owned_(true) {
    require(path.find('\0') == std::string::npos, "expected a path without NUL characters");
    if (file_ < 0) fail_with_errno(path, errno);
  }
  explicit File(int file) : file_(file), owned_(false) {}
  File(File&& other) noexcept : file_(other.file_), owned_(other.owned_) { other.owned_ = false; }
  ~File() {
    if (owned_) close(file_);
  }
  int number() const { return file_; }

 private:
  int file_;
  bool owned_;
};

File file_argument(const Arguments& arguments, size_t i, int flags) {
  if (arguments.type(i) == napi_string) return File(arguments.text(i, "file"), flags);
  return File(static_cast<int>(arguments.integer(i, "file", INT32_MAX)));
}

Type type_argument(const Arguments& arguments, size_t i, const char* what, bool allow_float16) {
  const std::string name = arguments.text(i, what);
  if (name == "F32") return Type::kFloat32;
  if (name == "BF16") return Type::kBfloat16;
  if (name == "I16") return Type::kInt16;
  if (name == "U8") return Type::kUint8;
  if (name == "F16" && allow_float16) return Type::kFloat16;
  fail(what, ": expected F32, BF16, ", allow_float16 ? "F16, " : "", "I16 or U8, found another name");
}

bool is_float(Type type) { return type != Type::kInt16 && type != Type::kUint8; }

// Throws unless values can be converted: only floats can.
void require_conversion(Type from, Type to) {
  require(from == to || (is_float(from) && is_float(to)), "expected values of one type, found ", name_of(from), " and ",
          name_of(to), ", which are not converted");
}

// JavaScript's arrays of values of a type.
struct ArrayType {
  Type values;
  napi_typedarray_type elements;
  const char* name;
};
ArrayType array_of(Type type) {
  if (type == Type::kInt16) return {type, napi_int16_array, "an Int16Array"};
  if (type == Type::kUint8) return {type, napi_uint8_array, "a Uint8Array"};
  return {Type::kFloat32, napi_float32_array, "a Float32Array"};
}

// `count` values of a type at byte `offset` of an arena.
struct StoredRange {
  std::shared_ptr<const Arena> arena;
  void* data;
};
StoredRange stored_range(int64_t id, int64_t offset, int64_t count, Type type) {
  const StoredRange range = {store().find(id), nullptr};
  require(offset % size_of(type) == 0, "offset: expected a multiple of ", size_of(type), ", the bytes of a ",
          name_of(type), ", found ", offset);
  range.arena->require_range(offset, saturated_product(count, size_of(type)));
  return {range.arena, range.arena->at(offset)};
}

void require_writable(const Arena& arena, int64_t id) {
  require(!arena.mapped, "arena ", id, " is a mapped file, which is read-only");
}

class HostMemory : public StoreMemory {
 public:
  // Pages of its own, which the system fills with zeros and gets back.
  std::shared_ptr<void> allocate(int64_t bytes) override {
    if (bytes == 0) return nullptr;
    const size_t length = static_cast<size_t>(bytes);
    void* const memory = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw OutOfMemory(bytes, 1);
    return {memory, [length](void* m) { munmap(m, length); }};
  }
  // An arena gets memory of freed activations, and they that of freed arenas.
  std::shared_ptr<void> allocate_for_step(int64_t bytes) override { return {allocate_scratch((bytes + 3) / 4)}; }
  char* staging() override { return nullptr; }
  void copy_in(void*, const void*, int64_t) override {}
  void copy_out(void*, const void*, int64_t) override {}
  std::shared_ptr<void> allocate_pinned(int64_t bytes) override { return allocate(bytes); }
  void synchronize() override {}
};

// Calls body(memory, at, n) for the values [at, at + n) of a range, in pieces that fit in the staging memory, or at
// once where there is none, and where the arena is the CPU's memory. `memory` is where the CPU reads or writes these
// values; they are copied out of the arena before, or into it after.
template <class Body>
void for_staged(StoreMemory& memory, const StoredRange& range, int64_t count, Type type, bool copy_in, Body body) {
  char* const staging = memory.staging();
  char* const data = static_cast<char*>(range.data);
  if (count == 0) return;
  if (!staging) return body(data, 0, count);
  if (range.arena->pinned) {
    memory.synchronize();
    return body(data, 0, count);
  }
  const int64_t size = size_of(type), piece = StoreMemory::kStagingBytes / size;
  for (int64_t at = 0; at < count; at += piece) {
    const int64_t n = std::min(piece, count - at);
    if (!copy_in) memory.copy_out(staging, data + at * size, n * size);
    body(staging, at, n);
    if (copy_in) memory.copy_in(data + at * size, staging, n * size);
  }
}

napi_value allocate(Arguments& arguments) {
  const int64_t bytes = arguments.integer(0, "bytes", kMaxBytes);
  return number(arguments.env(), store().add({arguments.data<StoreMemory>().allocate(bytes), bytes}));
}

napi_value allocate_pinned(Arguments& arguments) {
  const int64_t bytes = arguments.integer(0, "bytes", kMaxBytes);
  return number(arguments.env(),
                store().add({arguments.data<StoreMemory>().allocate_pinned(bytes), bytes, nullptr, true}));
}

napi_value allocate_for_step(Arguments& arguments) {
  const int64_t bytes = arguments.integer(0, "bytes", kMaxBytes);
  return number(arguments.env(), store().add({arguments.data<StoreMemory>().allocate_for_step(bytes), bytes}));
}

napi_value map(Arguments& arguments) {
  const std::string path = arguments.text(0, "path");
  const File file(path, O_RDONLY | O_NONBLOCK);  // a pipe must not block
  struct stat found;
  if (fstat(file.number(), &found) != 0) fail_with_errno(path, errno);
  require(S_ISREG(found.st_mode), path, ": expected a regular file");
  if (arguments.type(1) != napi_undefined) {
    const int64_t expected = arguments.integer(1, "bytes");
    require(found.st_size == expected, path, ": expected ", expected, " bytes, found ", int64_t{found.st_size},
            ": the file has changed");
  }
  const auto mapped = std::make_shared<const MappedFile>(file.number());
  return number(arguments.env(), store().add({{mapped, mapped->data()}, mapped->bytes(), mapped}));
}

napi_value free_arena(Arguments& arguments) {
  store().free(arguments.integer(0, "id"));
  return undefined(arguments.env());
}

napi_value bytes(Arguments& arguments) {
  napi_value result;
  require_ok(napi_create_object(arguments.env(), &result));
  const auto set = [&](const char* name, Arena::Kind kind) {
    require_ok(napi_set_named_property(arguments.env(), result, name, number(arguments.env(), store().bytes(kind))));
  };
  set("allocated", Arena::kAllocated);
  set("mapped", Arena::kMapped);
  if (&arguments.data<StoreMemory>() != &host_memory()) set("pinned", Arena::kPinned);
  return result;
}

napi_value read(Arguments& arguments) {
  const int64_t id = arguments.integer(0, "id"), offset = arguments.integer(1, "offset"),
                file_offset = arguments.integer(3, "fileOffset"), count = arguments.integer(4, "count", kMaxElements);
  const Type file_type = type_argument(arguments, 5, "fileType", true),
             type = type_argument(arguments, 6, "type", false);
  require_conversion(file_type, type);
  const StoredRange range = stored_range(id, offset, count, type);
  require_writable(*range.arena, id);
  const File file = file_argument(arguments, 2, O_RDONLY);
  for_staged(arguments.data<StoreMemory>(), range, count, type, true, [&](char* memory, int64_t at, int64_t n) {
    read_values({file.number(), file_offset + at * size_of(file_type), n, file_type}, type, memory);
  });
  return undefined(arguments.env());
}

napi_value write(Arguments& arguments) {
  const int64_t id = arguments.integer(0, "id"), offset = arguments.integer(1, "offset"),
                file_offset = arguments.integer(3, "fileOffset"), count = arguments.integer(4, "count", kMaxElements);
  const Type type = type_argument(arguments, 5, "type", false),
             file_type = type_argument(arguments, 6, "fileType", false);
  require_conversion(type, file_type);
  const StoredRange range = stored_range(id, offset, count, type);
  const File file = file_argument(arguments, 2, O_WRONLY);
  for_staged(arguments.data<StoreMemory>(), range, count, type, false, [&](char* memory, int64_t at, int64_t n) {
    write_values(memory, type, {file.number(), file_offset + at * size_of(file_type), n, file_type});
  });
  if (range.arena->mapped) range.arena->mapped->require_unchanged();
  return undefined(arguments.env());
}

napi_value address(Arguments& arguments) {
  const int64_t id = arguments.integer(0, "id");
  const auto arena = store().find(id);
  require_writable(*arena, id);
  napi_value value;
  require_ok(napi_create_bigint_uint64(arguments.env(), reinterpret_cast<uintptr_t>(arena->memory.get()), &value));
  return value;
}

napi_value get(Arguments& arguments) {
  const int64_t count = arguments.integer(2, "count", kMaxElements);
  const Type type = type_argument(arguments, 3, "type", false);
  const StoredRange range = stored_range(arguments.integer(0, "id"), arguments.integer(1, "offset"), count, type);
  const ArrayType array = array_of(type);
  const int64_t size = size_of(array.values);
  napi_env env = arguments.env();
  void* data = nullptr;
  napi_value buffer, values;
  require_ok(napi_create_arraybuffer(env, static_cast<size_t>(count * size), &data, &buffer));
  require_ok(napi_create_typedarray(env, array.elements, static_cast<size_t>(count), buffer, 0, &values));
  for_staged(arguments.data<StoreMemory>(), range, count, type, false, [&](char* memory, int64_t at, int64_t n) {
    convert_values(n, type, memory, array.values, static_cast<char*>(data) + at * size);
  });
  if (range.arena->mapped) range.arena->mapped->require_unchanged();
  return values;
}

napi_value set(Arguments& arguments) {
  const int64_t id = arguments.integer(0, "id"), offset = arguments.integer(1, "offset");
  const Type type = type_argument(arguments, 3, "type", false);
  const ArrayType array = array_of(type);
  const Arguments::Array values = arguments.array(2, "values", array.elements, array.name);
  const char* data = static_cast<const char*>(values.data);
  const StoredRange range = stored_range(id, offset, values.count, type);
  require_writable(*range.arena, id);
  for_staged(arguments.data<StoreMemory>(), range, values.count, type, true, [&](char* memory, int64_t at, int64_t n) {
    convert_values(n, array.values, data + at * size_of(array.values), type, memory);
  });
  return undefined(arguments.env());
}

}  // namespace

StoreMemory& host_memory() {
  static HostMemory memory;
  return memory;
}

void export_store(napi_env env, napi_value exports, StoreMemory& memory) {
  napi_value functions;
  require_ok(napi_create_object(env, &functions));
  export_function<allocate>(env, functions, "allocate", &memory);
  export_function<allocate_for_step>(env, functions, "allocateForStep", &memory);
  if (&memory == &host_memory()) {
    export_function<map>(env, functions, "map", &memory);
    export_function<address>(env, functions, "address", &memory);
  } else {
    export_function<allocate_pinned>(env, functions, "allocatePinned", &memory);
  }
  export_function<free_arena>(env, functions, "free", &memory);
  export_function<bytes>(env, functions, "bytes", &memory);
  export_function<read>(env, functions, "read", &memory);
  export_function<write>(env, functions, "write", &memory);
  export_function<get>(env, functions, "get", &memory);
  export_function<set>(env, functions, "set", &memory);
  require_ok(napi_set_named_property(env, exports, "store", functions));
}

}  // namespace wpo
