#include "device.h"
#include <algorithm>
#include "machine.h"

#define SITE __builtin_return_address(0)

uint64_t emulator_index(int which, int axis) {
  const Worker& w = this_worker();
  const Request& r = *w.launch->request;
  if (which == 2) return r.block[axis];
  if (which == 3) return r.grid[axis];
  const uint3& index = which ? w.block : w.current->index;
  return axis == 0 ? index.x : axis == 1 ? index.y : index.z;
}

void emulator_barrier(int line) {
  Thread& t = *this_worker().current;
  t.site = line;
  t.state = AT_BARRIER;
  yield();
}

void emulator_warp_barrier(uint32_t mask, int line) {
  together(mask, line, [](Thread*, uint32_t) {
    Warp& warp = this_worker().warp();
    if (warp.epoch < UINT16_MAX) ++warp.epoch;
  });
}

char* emulator_shared(int64_t number, size_t bytes, size_t element, const char* name) {
  Worker& w = this_worker();
  for (int i = 0; i < w.shared_count; ++i)
    if (w.shared_sites[i] == number) return reinterpret_cast<char*>(w.shared_base + i * SHARED_SLOT);
  if (number >= 0) w.static_bytes += bytes;
  if (w.static_bytes > MOST_STATIC || w.static_bytes + w.launch->request->shared_bytes > MOST_SHARED || w.shared_count == SHARED_ARRAYS)
    w.fail(w.current, SITE, 0, "has too much shared memory: %zu bytes with %s, and %ld of the launch", w.static_bytes, name,
           long(w.launch->request->shared_bytes));
  w.shared_sites[w.shared_count] = number;
  w.shared[w.shared_count] = {name, bytes, int(element)};
  char* at = reinterpret_cast<char*>(w.shared_base + w.shared_count++ * SHARED_SLOT);
  memset(at, 0xff, bytes);  // NaN
  return at;
}

char* emulator_dynamic_shared(const char* name, size_t element) {
  return emulator_shared(-1, this_worker().launch->request->shared_bytes, element, name);
}

char* emulator_enter(size_t bytes, size_t element, const char* name, bool written) {
  constexpr size_t GAP = 64;
  Worker& w = this_worker();
  Thread& t = *w.current;
  const size_t start = t.local_top + GAP;
  t.local_top = start + (bytes + 63) / 64 * 64;
  if (t.local_top + GAP > LOCAL) w.fail(&t, SITE, 0, "has too many registers for the emulator: %s", name);
  t.locals.push_back({name, bytes, int(element)});
  t.local_starts.push_back(start);
  const size_t offset = t.number * LOCAL + start;
  memset(w.local_state + offset / GRANULE, written ? 2 : 1, (bytes + GRANULE - 1) / GRANULE);
  memset(reinterpret_cast<char*>(w.local_base + offset), 0xff, bytes);  // NaN
  return reinterpret_cast<char*>(w.local_base + offset);
}

void emulator_leave() {
  Worker& w = this_worker();
  Thread& t = *w.current;
  const size_t start = t.local_starts.back();
  memset(w.local_state + (t.number * LOCAL + start) / GRANULE, 0, (t.locals.back().bytes + GRANULE - 1) / GRANULE);
  t.local_top = start - 64;
  t.locals.pop_back();
  t.local_starts.pop_back();
}

uint64_t emulator_shuffle(EmulatorShuffle how, uint32_t mask, uint64_t value, int lane, int width, int line) {
  Worker& w = this_worker();
  Thread& me = *w.current;
  const int own = me.number % WARP, first = own & ~(width - 1);
  int from = how == SHUFFLE_TO ? first | (lane & (width - 1)) : how == SHUFFLE_UP ? own - lane : how == SHUFFLE_DOWN ? own + lane : own ^ lane;
  if (how == SHUFFLE_UP && from < first) from = own;
  if ((how == SHUFFLE_DOWN || how == SHUFFLE_XOR) && from >= first + width) from = own;
  if (!(mask >> from & 1) || me.number - own + from >= w.launch->threads)
    w.fail(&me, nullptr, line, "takes its value from lane %d, which takes no part in the shuffle", from);
  me.in[0] = value;
  me.in[1] = from;
  together(mask, line, [](Thread* lanes, uint32_t members) {
    for (int i = 0; i < WARP; ++i)
      if (members >> i & 1) lanes[i].out[0] = lanes[lanes[i].in[1]].in[0];
  });
  return me.out[0];
}

// The mask is known when no thread of the block can go on: it has the lanes of the warp that have come here.
uint32_t emulator_active(int line) {
  Thread& t = *this_worker().current;
  t.site = line;
  t.state = IN_MASK;
  yield();
  return t.out[0];
}

uint32_t emulator_vote(EmulatorVote how, uint32_t mask, int predicate, int line) {
  Thread& me = *this_worker().current;
  me.in[0] = predicate != 0;
  together(mask, line, [](Thread* lanes, uint32_t members) {
    uint32_t votes = 0;
    for (int i = 0; i < WARP; ++i)
      if (members >> i & 1 && lanes[i].in[0]) votes |= 1u << i;
    for (int i = 0; i < WARP; ++i)
      if (members >> i & 1) lanes[i].out[0] = votes, lanes[i].out[1] = members;
  });
  const uint32_t votes = me.out[0], members = me.out[1];
  return how == VOTE_BALLOT ? votes : how == VOTE_ANY ? votes != 0 : votes == members;
}

void emulator_atomic(void* address, int bytes) { check_atomic(address, bytes, SITE); }

// Addresses of the shared window are offsets; 0 stays no address.
uint32_t emulator_shared_address(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) - this_worker().shared_base; }
char* emulator_shared_pointer(uint64_t address) { return reinterpret_cast<char*>(this_worker().shared_base + uint32_t(address)); }

void emulator_copy(void* to, const void* from, int bytes, int filled) {
  begin_copy(static_cast<char*>(to), static_cast<const char*>(from), bytes, filled, SITE);
}
void emulator_commit() {
  Thread& t = *this_worker().current;
  t.groups.push_back(std::move(t.copies));
  t.copies.clear();
}
void emulator_wait(int groups) {
  Thread& t = *this_worker().current;
  if (groups < 0) {  // wait_all
    emulator_commit();
    groups = 0;
  }
  end_copies(t, groups);
}
