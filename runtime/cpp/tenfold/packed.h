// weights.bin, packed: tensors of few values are kept as indices of these. runtime/packed_weights.py tells of the format.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "mapping.h"
#include "tensors.h"

namespace tenfold {
namespace detail {

constexpr int64_t kPackedMagic = 0x70646c6f666e6574;  // "tenfoldp"
constexpr int64_t kMostPackedBits = 8, kPartWords = 3, kPackedHeader = 24;

class Unpacker {
 public:
  explicit Unpacker(const Mapping& file) : file_(file), size_(static_cast<int64_t>(file.size())) {}

  Mapping whole() {
    if (size_ < kPackedHeader) throw Error("it is cut short");
    int64_t bytes = word(1), parts = word(2);
    if (bytes < 0 || bytes > kMostBytes || parts < 0 || parts > size_ / 8 || kPackedHeader + 8 * kPartWords * parts > size_)
      throw Error("its table is cut short");
    from_ = kPackedHeader + 8 * kPartWords * parts;
    check(bytes, parts);
    Mapping made(static_cast<size_t>(bytes));
    int64_t done = 0;
    for (int64_t part = 0; part < parts; ++part) {
      int64_t offset = word(3 + 3 * part), count = word(4 + 3 * part), bits = word(5 + 3 * part);
      copy(made.data() + done, offset - done);
      std::vector<char> book(size_t{4} << bits);
      copy(book.data(), static_cast<int64_t>(book.size()));
      const unsigned char* packed = reinterpret_cast<const unsigned char*>(file_.data()) + from_;
      unsigned mask = (1u << bits) - 1, waiting = 0;
      int64_t held = 0;
      for (int64_t i = 0; i < count; ++i) {
        if (held < bits) {
          waiting |= static_cast<unsigned>(*packed++) << held;
          held += 8;
        }
        std::memcpy(made.data() + offset + 4 * i, book.data() + 4 * (waiting & mask), 4);
        waiting >>= bits;
        held -= bits;
      }
      from_ += (count * bits + 7) / 8;
      done = offset + 4 * count;
    }
    copy(made.data() + done, bytes - done);
    return made;
  }

 private:
  int64_t word(int64_t index) const {
    int64_t value;
    std::memcpy(&value, file_.data() + 8 * index, 8);
    return value;
  }

  void copy(char* to, int64_t bytes) {
    if (bytes) std::memcpy(to, file_.data() + from_, static_cast<size_t>(bytes));
    from_ += bytes;
  }

  // That the parts lie in the file one after the other, and that the stream is as long as they say.
  void check(int64_t bytes, int64_t parts) const {
    int64_t done = 0, needed = 0;
    for (int64_t part = 0; part < parts; ++part) {
      int64_t offset = word(3 + 3 * part), count = word(4 + 3 * part), bits = word(5 + 3 * part);
      if (bits < 1 || bits > kMostPackedBits || count < 1 || count > bytes / 4 || offset < done || offset > bytes - 4 * count)
        throw Error("a part lies outside it");
      needed += offset - done + (int64_t{4} << bits) + (count * bits + 7) / 8;
      done = offset + 4 * count;
    }
    if (needed + bytes - done != size_ - from_) throw Error("it is cut short, or too long");
  }

  const Mapping& file_;
  int64_t size_, from_ = 0;
};

// What a file of weights says: the file itself, mapped once more, or what it unpacks to.
inline Mapping unpacked(const std::string& path, const Mapping& file) {
  int64_t magic = 0;
  if (file.size() >= 8) std::memcpy(&magic, file.data(), 8);
  if (magic != kPackedMagic) return Mapping(path);
  try {
    return Unpacker(file).whole();
  } catch (const Error& error) {
    throw Error(path + ": not the weights of a compiled network: " + error.what() + "; compile the network again");
  }
}

}  // namespace detail
}  // namespace tenfold
