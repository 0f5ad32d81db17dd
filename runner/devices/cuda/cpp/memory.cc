#include "memory.h"

namespace {

struct Stamp {
  uint64_t bits;
  uint64_t block() const { return bits >> 24 & 0x3fffffffff; }
  uint64_t interval() const { return bits >> 10 & INTERVALS; }
  int thread() const { return bits & 0x3ff; }
};

uint64_t stamp(Worker& w) {
  uint64_t interval = w.epoch - w.first_epoch;
  return uint64_t(w.block_number + 1) << 24 | (interval < INTERVALS ? interval : INTERVALS) << 10 | w.current->number;
}

// Whether two accesses of one word, one of them a store, may come in any order. Intervals beyond the last that has a number are not told apart.
bool unordered(Stamp before, Stamp now) {
  if (before.block() != now.block()) return true;
  return before.interval() == now.interval() && now.interval() != INTERVALS && before.thread() != now.thread();
}

[[noreturn]] void global_race(Worker& w, const Operand& o, uint64_t at, const char* what, const char* done, Stamp other, const void* site) {
  const bool here = other.block() == uint64_t(w.block_number + 1);
  w.fail(w.current, site, 0, "race: %s %s[%ld], %s by %s %ld %s", what, o.name, long(at / o.element), done, here ? "thread" : "block number",
         here ? long(other.thread()) : long(other.block()) - 1, here ? UNORDERED : "of the same launch");
}

void global_access(Worker& w, uintptr_t offset, int bytes, bool store, bool atomic, const void* site) {
  Launch& l = *w.launch;
  int number = offset / l.slot;
  Operand& o = l.request->operands[number];
  const int64_t at = int64_t(offset - number * l.slot) - int64_t(l.slot / 2);
  if (__builtin_expect(at < 0 || uint64_t(at) + bytes > o.bytes, 0))
    w.fail(w.current, site, 0, "%s out of bounds: %s[%ld], which has %ld elements", doing(store), o.name,
           long(at < 0 ? (at - o.element + 1) / o.element : at / o.element), long(o.bytes / o.element));
  if (store) {
    if (__builtin_expect(!o.output, 0)) w.fail(w.current, site, 0, "writes %s[%ld], an operand that is no output", o.name, long(at / o.element));
    o.written = 1;
  }
  GlobalCell* cell = l.cells[number];
  if (!cell) return;
  cell += at / GRANULE;
  const Stamp now{stamp(w)};
  for (int i = 0; i < bytes; i += GRANULE, ++cell) {
    uint64_t write = __atomic_load_n(&cell->write, __ATOMIC_RELAXED), read = __atomic_load_n(&cell->read, __ATOMIC_RELAXED);
    if (!write && !store && o.output == 1)
      w.fail(w.current, site, 0, "reads %s[%ld], which nothing has written yet", o.name, long((at + i) / o.element));
    if (write && unordered({write}, now) && !(atomic && write & BY_ATOMIC))
      global_race(w, o, at + i, doing(store), "written", {write}, site);
    if (store) {
      if (read && (read & BY_BLOCKS || (read & BY_SEVERAL && Stamp{read}.interval() == now.interval()) || unordered({read}, now)))
        global_race(w, o, at + i, "writes", "read", {read}, site);
      const bool stored = write == now.bits;  // by the same thread: still a store when an atomic follows
      __atomic_store_n(&cell->write, now.bits | (atomic && !stored ? BY_ATOMIC : 0), __ATOMIC_RELAXED);
    } else {
      uint64_t next = now.bits;
      if (read) {
        if (Stamp{read}.block() != now.block()) next |= BY_BLOCKS;
        else if (Stamp{read}.interval() == now.interval() && Stamp{read}.thread() != now.thread()) next |= BY_SEVERAL;
        next |= read & BY_BLOCKS;
        if (Stamp{read}.interval() == now.interval()) next |= read & BY_SEVERAL;
      }
      __atomic_store_n(&cell->read, next, __ATOMIC_RELAXED);
    }
  }
}

// An address of the kernel's memory, or a failure.
void access(const void* address, int bytes, bool store, bool atomic, const void* site) {
  Worker& w = this_worker();
  const auto a = reinterpret_cast<uintptr_t>(address);
  const uintptr_t local = a - w.local_base, shared = a - w.shared_base, global = a - w.launch->global_base;
  const bool in_local = local < MAX_THREADS * LOCAL, in_shared = shared < SHARED_ARRAYS * SHARED_SLOT;
  const bool in_global = global < w.launch->request->operand_count * w.launch->slot;
  if (__builtin_expect(!in_local && !in_shared && !in_global, 0)) {
    if (a - w.stack_base < MAX_THREADS * STACK) return;
    if (a >= reinterpret_cast<uintptr_t>(&__ehdr_start) && a < reinterpret_cast<uintptr_t>(&_end) && !store) return;  // constants
    w.fail(w.current, site, 0, "%s at %p, which is no memory of the kernel", doing(store), address);
  }
  if (__builtin_expect(a & (bytes - 1), 0))
    w.fail(w.current, site, 0, "%s %d bytes at an address that is no multiple of %d", doing(store), bytes, bytes);
  if (in_local) return check_local(w, local, bytes, store, site);
  if (in_shared) {
    if (!store) shared_read(w, shared, bytes, site);
    else shared_write(w, shared, bytes, site, atomic ? ATOMIC : w.current->number);
  } else {
    global_access(w, global, bytes, store, atomic, site);
  }
  if (w.launch->request->counting)
    w.current->log.push_back({site, in_shared ? shared : global, uint16_t(bytes), in_shared ? Space::shared : Space::global, store});
}

}  // namespace

void check_read(const void* address, int bytes, const void* site) {
  if (this_worker().launch->request->checks) access(address, bytes, false, false, site);
}
void check_write(const void* address, int bytes, const void* site) {
  if (this_worker().launch->request->checks) access(address, bytes, true, false, site);
}
void check_atomic(const void* address, int bytes, const void* site) {
  if (this_worker().launch->request->checks) access(address, bytes, true, true, site);
}

void begin_copy(char* to, const char* from, int bytes, int filled, const void* site) {
  Worker& w = this_worker();
  Thread& t = *w.current;
  const Request& request = *w.launch->request;
  if (request.checks) {
    const uintptr_t shared = reinterpret_cast<uintptr_t>(to) - w.shared_base;
    const uintptr_t global = reinterpret_cast<uintptr_t>(from) - w.launch->global_base;
    if (shared >= SHARED_ARRAYS * SHARED_SLOT) w.fail(&t, site, 0, "cp.async writes at %p, which is not in shared memory", static_cast<void*>(to));
    if ((shared | global) % bytes) w.fail(&t, site, 0, "cp.async of %d bytes at an address that is no multiple of %d", bytes, bytes);
    if (filled < 0 || filled > bytes) w.fail(&t, site, 0, "cp.async of %d bytes takes %d from global memory", bytes, filled);
    if (filled) {
      if (global >= request.operand_count * w.launch->slot) w.fail(&t, site, 0, "cp.async reads at %p, which is no operand", static_cast<const void*>(from));
      global_access(w, global, filled, false, false, site);
      if (request.counting) t.log.push_back({site, global, uint16_t(filled), Space::global, false});
    }
    shared_write(w, shared, bytes, site, PENDING | t.number);
    if (request.counting) t.log.push_back({site, shared, uint16_t(bytes), Space::shared, true});
  }
  t.copies.push_back({to, from, bytes, filled});
}

void end_copies(Thread& thread, size_t left) {
  Worker& w = this_worker();
  for (; thread.groups.size() > left; thread.groups.pop_front())
    for (const Copy& copy : thread.groups.front()) {
      memcpy(copy.to, copy.from, copy.filled);
      memset(copy.to + copy.filled, 0, copy.bytes - copy.filled);
      if (!w.launch->request->checks) continue;
      SharedCell* cell = w.shared_cells + (reinterpret_cast<uintptr_t>(copy.to) - w.shared_base) / GRANULE;
      for (int i = 0; i < copy.bytes; i += GRANULE, ++cell) {
        cell->writer = thread.number;
        cell->write_epoch = w.epoch;
        cell->write_warp_epoch = w.warps[thread.number / WARP].epoch;
      }
    }
}
