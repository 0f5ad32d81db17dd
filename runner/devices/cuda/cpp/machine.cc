#include "machine.h"
#include <sys/mman.h>
#include <algorithm>
#include <random>

extern "C" __attribute__((visibility("hidden"))) const char __ehdr_start;

namespace {

char* space(size_t bytes) {
  void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return at == MAP_FAILED ? nullptr : static_cast<char*>(at);
}

constexpr size_t LOCALS = MAX_THREADS * LOCAL, SHARED = SHARED_ARRAYS * SHARED_SLOT;
constexpr size_t SHARED_CELLS = SHARED / GRANULE * sizeof(SharedCell);

void entry() {
  Worker& w = this_worker();
  w.launch->call(w.launch->arguments.data());
  w.current->state = ENDED;
  switch_fiber(w.current->fiber, w.scheduler);
}

}  // namespace

bool Worker::reserve() {
  local_base = reinterpret_cast<uintptr_t>(space(LOCALS));
  shared_base = reinterpret_cast<uintptr_t>(space(SHARED));
  stacks = reinterpret_cast<uintptr_t>(space(2 * STACKS));
  stack_base = (stacks + STACKS - 1) & ~(STACKS - 1);
  local_state = reinterpret_cast<uint8_t*>(space(LOCALS / GRANULE));
  shared_cells = reinterpret_cast<SharedCell*>(space(SHARED_CELLS));
  for (int i = 0; i < MAX_THREADS; ++i) threads[i].number = i;
  if (stacks) *reinterpret_cast<Worker**>(stack_base) = this;
  return local_base && shared_base && stacks && local_state && shared_cells;
}

Worker::~Worker() {
  if (local_base) munmap(reinterpret_cast<void*>(local_base), LOCALS);
  if (shared_base) munmap(reinterpret_cast<void*>(shared_base), SHARED);
  if (stacks) munmap(reinterpret_cast<void*>(stacks), 2 * STACKS);
  if (local_state) munmap(local_state, LOCALS / GRANULE);
  if (shared_cells) munmap(shared_cells, SHARED_CELLS);
}

void yield() {
  Worker& w = this_worker();
  switch_fiber(w.current->fiber, w.scheduler);
}

void Worker::note(Thread* thread, const void* site, int line, const char* format, va_list arguments) {
  report.failed = 1;
  report.thread = thread ? thread->number : -1;
  report.block = block_number;
  report.line = line;
  report.site = site ? static_cast<const char*>(site) - &__ehdr_start : 0;
  vsnprintf(report.text, sizeof report.text, format, arguments);
}

void Worker::note(Thread* thread, int line, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  note(thread, nullptr, line, format, arguments);
  va_end(arguments);
}

void Worker::fail(Thread* thread, const void* site, int line, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  note(thread, site, line, format, arguments);
  va_end(arguments);
  Fiber abandoned;  // never continued
  switch_fiber(abandoned, scheduler);
  __builtin_unreachable();
}

void together(uint32_t mask, int64_t site, void (*perform)(Thread* lanes, uint32_t mask)) {
  Worker& w = this_worker();
  Thread& me = *w.current;
  const int first = me.number / WARP * WARP, present = std::min(WARP, w.launch->threads - first);
  if (present < WARP) mask &= (1u << present) - 1;
  const uint32_t bit = 1u << (me.number % WARP);
  if (!(mask & bit)) w.fail(&me, nullptr, int(site), "takes part in a warp operation whose mask %#x leaves it out", mask);
  Thread* lanes = w.threads + first;
  Warp& warp = w.warp();
  me.site = site;
  me.mask = mask;
  warp.arrived |= bit;
  bool complete = (warp.arrived & mask) == mask;
  for (int i = 0; complete && i < present; ++i)
    complete = !(mask >> i & 1) || (lanes[i].site == site && lanes[i].mask == mask);
  if (!complete) {
    me.state = IN_WARP;
    return yield();
  }
  warp.arrived &= ~mask;
  perform(lanes, mask);
  for (int i = 0; i < present; ++i)
    if (mask >> i & 1) lanes[i].state = READY;
}

void Worker::finish_interval() {
  const int count = launch->threads;
  if (launch->request->counting)
    for (int warp = 0; warp * WARP < count; ++warp) count_accesses(*this, warp);
  ++epoch;
  for (Warp& warp : warps) warp.epoch = 0;
}

namespace {

// Lanes that ask who is active with them get their answer. Whether there were any.
bool answer_masks(Worker& w) {
  bool any = false;
  for (int i = 0; i < w.launch->threads; ++i) {
    if (w.threads[i].state != IN_MASK) continue;
    any = true;
    const int first = i / WARP * WARP, end = std::min(first + WARP, w.launch->threads);
    uint32_t mask = 0;
    for (int j = i; j < end; ++j)
      if (w.threads[j].state == IN_MASK && w.threads[j].site == w.threads[i].site) mask |= 1u << (j - first);
    for (int j = i; j < end; ++j)
      if (mask >> (j - first) & 1) w.threads[j].out[0] = mask, w.threads[j].state = READY;
  }
  return any;
}

// No thread can go on. If all wait at one barrier they may, else the block has failed.
void release_barrier(Worker& w) {
  const int count = w.launch->threads;
  Thread* waiting = nullptr;
  for (int i = 0; i < count; ++i)
    if (w.threads[i].state == IN_WARP)
      return w.note(w.threads + i, int(w.threads[i].site), "waits in a warp operation that not all threads of its mask %#x come to", w.threads[i].mask);
  for (int i = 0; i < count; ++i) {
    Thread& t = w.threads[i];
    if (t.state != AT_BARRIER) continue;
    if (!waiting) waiting = &t;
    if (t.site != waiting->site)
      return w.note(&t, int(t.site), "waits at this barrier, while thread %d waits at that of line %d", waiting->number, int(waiting->site));
  }
  for (int i = 0; i < count; ++i)
    if (w.threads[i].state == ENDED)
      return w.note(w.threads + i, int(waiting->site), "has ended without coming to this barrier, where thread %d waits", waiting->number);
  for (int i = 0; i < count; ++i) w.threads[i].state = READY;
}

}  // namespace

void Worker::run_block(int64_t number) {
  const Request& request = *launch->request;
  const int count = launch->threads, x = request.block[0], y = request.block[1];
  block_number = number;
  block = {unsigned(number % request.grid[0]), unsigned(number / request.grid[0] % request.grid[1]),
           unsigned(number / request.grid[0] / request.grid[1])};
  first_epoch = ++epoch;
  for (int i = 0; i < shared_count; ++i) memset(reinterpret_cast<void*>(shared_base + i * SHARED_SLOT), 0xff, shared[i].bytes);
  order.resize(count);
  for (int i = 0; i < count; ++i) {
    Thread& t = threads[i];
    t.index = {unsigned(i % x), unsigned(i / x % y), unsigned(i / x / y)};
    t.state = READY;
    if (t.local_top) memset(local_state + i * LOCAL / GRANULE, 0, LOCAL / GRANULE);  // of a block that failed
    t.local_top = 0;
    t.locals.clear();
    t.local_starts.clear();
    t.copies.clear();
    t.groups.clear();
    t.log.clear();
    t.fiber.start(reinterpret_cast<char*>(stack_base + i * STACK), STACK, entry);
    order[i] = request.order == 1 ? count - 1 - i : i;
  }
  for (Warp& warp : warps) warp = {};
  std::mt19937_64 random(request.seed * 1000003 + number);
  for (;;) {
    if (request.order == 2) std::shuffle(order.begin(), order.end(), random);
    for (bool any = true; any;) {
      any = false;
      for (int i : order) {
        if (threads[i].state != READY) continue;
        any = true;
        current = threads + i;
        switch_fiber(scheduler, current->fiber);
        if (report.failed) return;
      }
    }
    if (answer_masks(*this)) continue;
    finish_interval();
    bool ended = true;
    for (int i = 0; i < count; ++i) ended = ended && threads[i].state == ENDED;
    if (ended) return;
    release_barrier(*this);
    if (report.failed) return;
  }
}
