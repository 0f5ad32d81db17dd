// The emulated machine: a worker runs one block after the other, each thread of the block as a fiber.
#pragma once
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <vector>
#include "counts.h"
#include "fibers.h"

#ifndef GRANULE
#define GRANULE 4  // bytes that one shadow cell stands for: the smallest element that the source names
#endif

constexpr int MAX_THREADS = 1024, WARP = 32;
constexpr size_t STACK = 256 << 10, STACKS = MAX_THREADS * STACK;
constexpr size_t LOCAL = 64 << 10;          // register arrays of a thread
constexpr size_t SHARED_SLOT = 1 << 20;     // an array in shared memory, and what lies behind it
constexpr int SHARED_ARRAYS = 256;
constexpr size_t MOST_STATIC = 48 << 10, MOST_SHARED = 227 << 10;  // bytes of a block, of compute capability 9.0

struct uint3 { unsigned x, y, z; };

// Operand, Request and Report are as runner/devices/cuda/library.py has them.
struct Operand {
  char* data;
  uint64_t bytes;
  const char* name;
  int32_t element;
  int32_t output;    // 1: held nothing before; 0: may only be read; -1: not told
  int32_t written;
};
struct Request {
  const char* kernel;
  int32_t grid[3], block[3];
  int64_t shared_bytes;
  Operand* operands;
  int32_t operand_count;
  int32_t order;  // 0: forward, 1: backward, 2: shuffled
  uint64_t seed;
  const int64_t* blocks;
  int64_t block_count;
  int32_t workers, checks, counting;
  SiteCount* counts;
  int64_t count_room, count_size;  // of counts, and how many there are
};
struct Report {
  int32_t failed;
  int32_t thread;  // -1: the block as a whole
  int64_t block;
  int64_t site;  // an offset within the library, or 0
  int32_t line;  // of the source, or 0
  char text[400];
};

struct SharedCell {  // who wrote and read a granule last
  uint32_t write_epoch;
  uint16_t writer, write_warp_epoch;
  uint32_t read_epoch;
  uint16_t reader, read_warp_epoch;
};
struct GlobalCell { uint64_t write, read; };
struct Array { const char* name = nullptr; size_t bytes = 0; int element = 4; };

struct Copy { char* to; const char* from; int bytes, filled; };
enum State : uint8_t { READY, AT_BARRIER, IN_WARP, IN_MASK, ENDED };

struct Thread {
  Fiber fiber;
  uint3 index;
  int number = 0;
  State state = READY;
  int64_t site = 0;       // of the barrier or warp operation that it waits at
  uint32_t mask = 0;      // of that warp operation
  uint64_t in[8], out[8];  // values that go to, and come from, a warp operation
  size_t local_top = 0;
  std::vector<Array> locals;
  std::vector<size_t> local_starts;
  std::vector<Copy> copies;               // cp.async, not committed
  std::deque<std::vector<Copy>> groups;   // committed, not complete
  std::vector<Access> log;
};
struct Warp { uint32_t arrived = 0; uint16_t epoch = 0; };

struct Launch;  // what all workers of a launch share

struct Worker {
  Launch* launch = nullptr;
  Thread* current = nullptr;
  Fiber scheduler;
  uintptr_t local_base = 0, shared_base = 0, stacks = 0, stack_base = 0;  // stack_base: where those begin that are used
  uint8_t* local_state = nullptr;   // of each granule: 0 no array, 1 unwritten, 2 written
  SharedCell* shared_cells = nullptr;
  Array shared[SHARED_ARRAYS];
  int64_t shared_sites[SHARED_ARRAYS];
  int shared_count = 0;
  size_t static_bytes = 0;  // of shared memory
  uint32_t epoch = 0, first_epoch = 0;  // barrier intervals, counted over all blocks; the first one of this block
  uint3 block;
  int64_t block_number = 0;
  Thread threads[MAX_THREADS];
  Warp warps[MAX_THREADS / WARP];
  Report report{};
  std::vector<int> order;
  Counts counts;

  ~Worker();
  bool reserve();
  void run_block(int64_t number);
  void finish_interval();
  void note(Thread* thread, const void* site, int line, const char* format, va_list arguments);
  void note(Thread* thread, int line, const char* format, ...) __attribute__((format(printf, 4, 5)));
  // Notes a failure and leaves the fiber for good.
  [[noreturn]] void fail(Thread* thread, const void* site, int line, const char* format, ...) __attribute__((format(printf, 5, 6)));
  Warp& warp() { return warps[current->number / WARP]; }
};

struct Launch {
  Request* request;
  void (*call)(void**);
  std::vector<void*> arguments;
  uintptr_t global_base;
  uint64_t slot;  // bytes of address space for each operand
  std::vector<GlobalCell*> cells;
  int threads;
};

// The worker of the fiber that asks: it stands at the start of the stacks, and these at a multiple of their size. (A thread-local variable
// would take some of the little space that programs have for those of libraries that are loaded later.)
inline Worker& this_worker() { return **reinterpret_cast<Worker**>(reinterpret_cast<uintptr_t>(__builtin_frame_address(0)) & ~(STACKS - 1)); }

void yield();                                                // to the scheduler, until the thread is ready again
void check_read(const void* address, int bytes, const void* site);
void check_write(const void* address, int bytes, const void* site);
void check_atomic(const void* address, int bytes, const void* site);
void begin_copy(char* to, const char* from, int bytes, int filled, const void* site);  // cp.async
void end_copies(Thread& thread, size_t left);
void count_accesses(Worker& worker, int warp);
// Runs `perform` once, when all threads of the mask have come to the operation.
void together(uint32_t mask, int64_t site, void (*perform)(Thread* lanes, uint32_t mask));
