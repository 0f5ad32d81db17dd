// Memory that kernels work in.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <set>
#include <vector>

#include "tensors.h"

namespace tenfold {
namespace detail {

// Memory that kernels work in. Each thread keeps what it has had, for the next kernel, until no network is loaded any more.
class Workspaces {
 public:
  static void* take(size_t size) {
    std::vector<Block>& blocks = shelf().blocks;
    Block* best = nullptr;
    for (Block& each : blocks)
      if (!each.used && (!best || better(each.size, best->size, size))) best = &each;
    if (!best || best->size < size) {
      if (!best) best = &blocks.emplace_back();
      std::free(best->data);
      best->size = (std::max<size_t>(size, 1) + kAlignment - 1) / kAlignment * kAlignment;
      best->data = std::aligned_alloc(kAlignment, best->size);
      if (!best->data) best->size = 0;
    }
    best->used = best->data != nullptr;
    return best->data;
  }
  static void give_back(void* data) {
    for (Block& each : shelf().blocks)
      if (each.data == data) each.used = false;
  }
  Workspaces() {
    std::lock_guard<std::mutex> hold(all().lock);
    ++all().networks;
  }
  Workspaces(const Workspaces&) = delete;
  ~Workspaces() {
    std::lock_guard<std::mutex> hold(all().lock);
    if (--all().networks == 0)
      for (Shelf* each : all().shelves) each->clear();
  }

 private:
  // The smallest block that is large enough, or else the largest.
  static bool better(size_t one, size_t other, size_t wanted) {
    return one >= wanted ? other < wanted || one < other : other < wanted && one > other;
  }
  struct Block {
    void* data = nullptr;
    size_t size = 0;
    bool used = false;
  };
  struct Shelf {
    std::vector<Block> blocks;
    Shelf() {
      std::lock_guard<std::mutex> hold(all().lock);
      all().shelves.insert(this);
    }
    ~Shelf() {
      std::lock_guard<std::mutex> hold(all().lock);
      all().shelves.erase(this);
      clear();
    }
    void clear() {
      for (Block& each : blocks) std::free(each.data);
      blocks.clear();
    }
  };
  struct All {
    std::mutex lock;
    std::set<Shelf*> shelves;
    int networks = 0;
  };
  static All& all() {
    static All& all = *new All;  // threads outlive what is destroyed at the end of the process
    return all;
  }
  static Shelf& shelf() {
    static thread_local Shelf shelf;
    return shelf;
  }
};

}  // namespace detail
}  // namespace tenfold
