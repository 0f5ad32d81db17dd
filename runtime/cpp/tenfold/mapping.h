// Files in memory.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "tensors.h"

namespace tenfold {
namespace detail {

// A file, mapped: its pages are shared with other processes until somebody writes.
class Mapping {
 public:
  explicit Mapping(const std::string& path) {
    int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat about = {};
    if (file < 0 || fstat(file, &about) != 0 || !S_ISREG(about.st_mode)) {
      std::string why = file < 0 ? std::strerror(errno) : "it is no file";
      if (file >= 0) close(file);
      throw Error(path + ": can't be read: " + why);
    }
    size_ = static_cast<size_t>(about.st_size);
    void* data = size_ ? mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0) : nullptr;
    close(file);
    if (data == MAP_FAILED) throw Error(path + ": can't be mapped: " + std::strerror(errno));
    data_ = static_cast<char*>(data);
  }
  // Memory of so many bytes, zeros.
  explicit Mapping(size_t bytes) : size_(bytes) {
    void* data = size_ ? mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) : nullptr;
    if (data == MAP_FAILED) throw Error("there is no memory for " + std::to_string(bytes) + " bytes");
    data_ = static_cast<char*>(data);
  }
  Mapping(Mapping&& other) noexcept : data_(other.data_), size_(other.size_) { other.data_ = nullptr; }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (data_) munmap(data_, size_);
  }
  char* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  char* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace detail
}  // namespace tenfold
