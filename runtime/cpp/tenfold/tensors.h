// What the parts of tenfold.h share: the error, the types and shapes of tensors.
#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace tenfold {

// A text without control characters: a name out of a file must not move a terminal's cursor.
inline std::string one_line(const std::string& text) {
  std::string line;
  for (unsigned char c : text) line += c < 32 || c == 127 ? '?' : static_cast<char>(c);
  return line;
}

// What is wrong, in one line.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& text) : std::runtime_error(one_line(text)) {}
};

// The network can't run without TVM's runtime.
class NeedsTvm : public Error {
 public:
  using Error::Error;
};

// An input or output: its shape, and NumPy's name of its numbers' type. Arrays are dense, the last dimension is the innermost.
struct Port {
  std::string name;
  std::vector<int64_t> shape;
  std::string dtype;
  int64_t elements() const;
  int64_t bytes() const;
};

namespace detail {

constexpr int64_t kMostBytes = int64_t{1} << 46;  // of a tensor: products of a size and a type's bytes stay within 64 bits
constexpr size_t kMostDimensions = 32, kAlignment = 64, kMostDepth = 200;
constexpr int kMostThreads = 1 << 16, kFormat = 5;

struct Dtype {
  const char* name;
  uint8_t code, bits;  // as of DLPack
};
constexpr Dtype kDtypes[] = {
    {"float16", 2, 16}, {"float32", 2, 32}, {"float64", 2, 64}, {"int8", 0, 8},     {"int16", 0, 16},   {"int32", 0, 32},
    {"int64", 0, 64},   {"uint8", 1, 8},    {"uint16", 1, 16},  {"uint32", 1, 32},  {"uint64", 1, 64},  {"bool", 6, 8},
};

inline const Dtype& dtype_of(const std::string& name) {
  for (const Dtype& each : kDtypes)
    if (name == each.name) return each;
  throw Error("'" + name.substr(0, 60) + "' is no dtype of a tensor");
}

inline int64_t product(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (int64_t size : shape) count *= size;
  return count;
}

// The shape, if a tensor can have it: its product fits, also where one of the sizes is 0.
inline const std::vector<int64_t>& possible(const std::vector<int64_t>& shape, int64_t bytes_each = 1) {
  int64_t count = bytes_each;
  bool fits = shape.size() <= kMostDimensions;
  for (int64_t size : shape) {
    if ((fits = fits && size >= 0 && std::max<int64_t>(size, 1) <= kMostBytes / count)) count *= std::max<int64_t>(size, 1);
  }
  if (!fits) throw Error("a tensor has no possible shape");
  return shape;
}

}  // namespace detail

inline int64_t Port::elements() const { return detail::product(shape); }
inline int64_t Port::bytes() const { return elements() * detail::dtype_of(dtype).bits / 8; }

}  // namespace tenfold
