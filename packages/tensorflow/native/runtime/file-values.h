// Values in files: all threads read or write at the same time, and convert on the way.
#pragma once
#include <cstdint>

#include "runtime/types.h"

namespace wpo {

// `count` values of a type from byte `offset` of an open file.
struct FileValues {
  int file;
  int64_t offset, count;
  Type type;
};

// Reads the values into `to`, as values of `type`. Throws if the file ends before them or cannot be read.
void read_values(const FileValues& from, Type type, void* to);

// Writes values of `type` from `from`. Throws if they cannot be written.
void write_values(const void* from, Type type, const FileValues& to);

// Converts `count` values to the same type, or floats to float32 or bfloat16.
void convert_values(int64_t count, Type from_type, const void* from, Type to_type, void* to);

}  // namespace wpo
