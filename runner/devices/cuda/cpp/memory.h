// What each access is checked for: bounds, alignment, words that nobody wrote, and races within a barrier interval.
#pragma once
#include "machine.h"

extern "C" {
extern const char __ehdr_start __attribute__((visibility("hidden")));
extern const char _end __attribute__((visibility("hidden")));
}

constexpr uint16_t PENDING = 0x8000, ATOMIC = 0x7ffe;      // of a writer: cp.async is on its way; atomics, of any thread
constexpr uint16_t LANES = 0x4000, SEVERAL = 0x7fff;       // of a reader: several lanes of a warp; several warps
// A GlobalCell's stamps: thread in bits 0 to 9, barrier interval of the block in 10 to 23, block + 1 in 24 to 61, and
constexpr uint64_t INTERVALS = 0x3fff, BY_ATOMIC = 1ull << 62, BY_SEVERAL = 1ull << 62, BY_BLOCKS = 1ull << 63;

inline int warp_of(uint16_t thread) { return (thread & 0x3ff) / WARP; }
inline const char* doing(bool store) { return store ? "writes" : "reads"; }

inline void check_local(Worker& w, uintptr_t offset, int bytes, bool store, const void* site) {
  uint8_t* state = w.local_state + offset / GRANULE;
  for (int i = 0; i < bytes; i += GRANULE, ++state) {
    if (__builtin_expect(*state == 2, 1)) continue;
    if (*state == 1 && store) { *state = 2; continue; }
    Thread& t = *w.current;
    size_t at = offset + i - size_t(t.number) * LOCAL;
    size_t k = t.locals.size();
    while (k > 1 && t.local_starts[k - 1] > at) --k;
    if (!k || t.locals.empty()) w.fail(&t, site, 0, "%s outside of its register arrays", doing(store));
    const Array& a = t.locals[k - 1];
    long index = (long(at) - long(t.local_starts[k - 1])) / a.element;
    if (*state == 1) w.fail(&t, site, 0, "reads %s[%ld] (registers), which holds no value yet", a.name, index);
    w.fail(&t, site, 0, "%s out of bounds: %s[%ld] (registers) has %ld elements", doing(store), a.name, index, long(a.bytes / a.element));
  }
}

// The element of a shared array, in words. Bounds, and the alignment that the hardware demands.
inline const Array& shared_array(Worker& w, uintptr_t offset, int bytes, bool store, const void* site) {
  size_t slot = offset / SHARED_SLOT, at = offset % SHARED_SLOT;
  const Array& a = w.shared[slot];
  if (__builtin_expect(slot >= size_t(w.shared_count) || at + bytes > a.bytes, 0)) {
    if (slot >= size_t(w.shared_count)) slot = w.shared_count - 1;
    const Array& near = w.shared_count ? (at > SHARED_SLOT / 2 && slot + 1 < size_t(w.shared_count) ? w.shared[++slot] : w.shared[slot]) : a;
    long index = w.shared_count ? (long(offset) - long(slot * SHARED_SLOT)) / near.element : 0;
    w.fail(w.current, site, 0, "%s out of bounds: %s[%ld] (shared memory) has %ld elements", doing(store), near.name ? near.name : "?", index,
           long(near.bytes / near.element));
  }
  return a;
}

// Another thread, or -1 for several, did something to the same word.
[[noreturn]] inline void shared_race(Worker& w, uintptr_t offset, const char* what, const char* done, int other, const char* why, const void* site) {
  const Array& a = w.shared[offset / SHARED_SLOT];
  char who[40] = "several threads";
  if (other >= 0) snprintf(who, sizeof who, "thread %d", other);
  w.fail(w.current, site, 0, "race: %s %s[%ld] (shared memory), %s by %s %s", what, a.name, long(offset % SHARED_SLOT / a.element), done, who, why);
}
constexpr const char *UNORDERED = "with no barrier in between", *IN_FLIGHT = "through cp.async that is not waited for";

inline void shared_read(Worker& w, uintptr_t offset, int bytes, const void* site) {
  const Array& a = shared_array(w, offset, bytes, false, site);
  const uint16_t me = w.current->number, now = w.warp().epoch;
  SharedCell* cell = w.shared_cells + offset / GRANULE;
  for (int i = 0; i < bytes; i += GRANULE, ++cell) {
    if (__builtin_expect(cell->write_epoch < w.first_epoch, 0))
      w.fail(w.current, site, 0, "reads %s[%ld] (shared memory), which no thread has written yet", a.name, long((offset + i) % SHARED_SLOT / a.element));
    if (__builtin_expect(cell->writer & PENDING, 0))
      shared_race(w, offset + i, "reads", "written", cell->writer & 0x3ff, IN_FLIGHT, site);
    if (cell->write_epoch == w.epoch && cell->writer != me &&
        !(cell->writer != ATOMIC && warp_of(cell->writer) == warp_of(me) && cell->write_warp_epoch < now))
      shared_race(w, offset + i, "reads", "written", cell->writer == ATOMIC ? -1 : cell->writer, UNORDERED, site);
    if (cell->read_epoch != w.epoch) {
      cell->reader = me;
    } else if (cell->reader != me && cell->reader != SEVERAL) {
      if (warp_of(cell->reader) != warp_of(me)) cell->reader = SEVERAL;
      else cell->reader = cell->read_warp_epoch < now ? me : LANES | me;
    }
    cell->read_epoch = w.epoch;
    cell->read_warp_epoch = now;
  }
}

inline void shared_write(Worker& w, uintptr_t offset, int bytes, const void* site, uint16_t as) {
  shared_array(w, offset, bytes, true, site);
  const uint16_t me = w.current->number, now = w.warp().epoch;
  SharedCell* cell = w.shared_cells + offset / GRANULE;
  for (int i = 0; i < bytes; i += GRANULE, ++cell) {
    if (__builtin_expect(cell->write_epoch >= w.first_epoch && cell->writer & PENDING, 0))
      shared_race(w, offset + i, "writes", "written", cell->writer & 0x3ff, IN_FLIGHT, site);
    if (cell->write_epoch == w.epoch && cell->writer != me && !(cell->writer == ATOMIC && as == ATOMIC) &&
        !(cell->writer != ATOMIC && warp_of(cell->writer) == warp_of(me) && cell->write_warp_epoch < now))
      shared_race(w, offset + i, "writes", "written", cell->writer == ATOMIC ? -1 : cell->writer, UNORDERED, site);
    if (cell->read_epoch == w.epoch && cell->reader != me &&
        !(cell->reader != SEVERAL && warp_of(cell->reader) == warp_of(me) && cell->read_warp_epoch < now))
      shared_race(w, offset + i, "writes", "read", cell->reader >= LANES ? -1 : cell->reader, UNORDERED, site);
    // A store that an atomic of the same thread follows is still a store.
    const bool stored = as == ATOMIC && cell->write_epoch == w.epoch && cell->writer == me;
    *cell = {w.epoch, stored ? me : as, now, cell->read_epoch, cell->reader, cell->read_warp_epoch};
  }
}

