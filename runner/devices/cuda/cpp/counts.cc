// Memory transactions of a warp's accesses. The accesses of its lanes belong together when they are made at the same place of the program, and
// are there the lane's n-th since the barrier.
#include "counts.h"
#include <algorithm>
#include <map>
#include <tuple>
#include "machine.h"

namespace {

struct Group {  // one instruction of a warp
  Access access[WARP];
  int lane[WARP];
  int count = 0;
  void add(const Access& a, int number) {
    access[count] = a;
    lane[count++] = number;
  }
};

int distinct(uint64_t* values, int count) {
  std::sort(values, values + count);
  return std::unique(values, values + count) - values;
}

// Wavefronts of shared memory: 32 banks of 4 bytes; 8 bytes a lane go by half warps, 16 by quarters; a word is sent to all lanes that ask for it.
void add_wavefronts(const Group& group, SiteCount& count) {
  const int bytes = group.access[0].bytes, together = bytes <= 4 ? WARP : WARP * 4 / bytes;
  for (int first = 0; first < WARP; first += together) {
    uint64_t words[WARP * 4];
    int n = 0;
    for (int i = 0; i < group.count; ++i)
      if (group.lane[i] >= first && group.lane[i] < first + together)
        for (int b = 0; b < std::max(bytes, 4); b += 4) words[n++] = (group.access[i].address + b) / 4;
    if (!n) continue;
    n = distinct(words, n);
    int banks[32] = {}, worst = 0;
    for (int i = 0; i < n; ++i) worst = std::max(worst, ++banks[words[i] % 32]);
    count.transactions += worst;
    count.least += 1;
  }
}

// Sectors of 32 bytes of global memory that are touched, and the fewest that the bytes fit into.
void add_sectors(const Group& group, SiteCount& count) {
  uint64_t sectors[WARP * 2], units[WARP * 4];
  const int unit = std::min<int>(group.access[0].bytes, 4);
  int n = 0, m = 0;
  for (int i = 0; i < group.count; ++i) {
    const Access& a = group.access[i];
    sectors[n++] = a.address / 32;
    sectors[n++] = (a.address + a.bytes - 1) / 32;
    for (int b = 0; b < a.bytes; b += unit) units[m++] = (a.address + b) / unit;
  }
  count.transactions += distinct(sectors, n);
  count.least += (distinct(units, m) * unit + 31) / 32;
}

void add(Counts& counts, const Group& group) {
  const Access& a = group.access[0];
  SiteCount& count = counts[{a.site, a.space, a.store}];
  ++count.requests;
  if (a.space == Space::shared) add_wavefronts(group, count);
  else add_sectors(group, count);
}

Place place(const Access& a) { return {a.site, a.space, a.store}; }

// Whether all lanes, or those that did anything, went the same way.
bool alike(Thread* lanes) {
  const std::vector<Access>* first = nullptr;
  for (int i = 0; i < WARP; ++i) {
    const std::vector<Access>& log = lanes[i].log;
    if (log.empty()) continue;
    if (!first) first = &log;
    if (log.size() != first->size()) return false;
    for (size_t k = 0; k < log.size(); ++k)
      if (!(place(log[k]) == place((*first)[k]))) return false;
  }
  return true;
}

void count_alike(Counts& counts, Thread* lanes) {
  size_t length = 0;
  for (int i = 0; i < WARP; ++i) length = std::max(length, lanes[i].log.size());
  for (size_t k = 0; k < length; ++k) {
    Group group;
    for (int i = 0; i < WARP; ++i)
      if (!lanes[i].log.empty()) group.add(lanes[i].log[k], i);
    add(counts, group);
  }
}

void count_apart(Counts& counts, Thread* lanes) {
  std::map<std::pair<Place, int>, Group> groups;
  for (int i = 0; i < WARP; ++i) {
    std::map<Place, int> seen;
    for (const Access& a : lanes[i].log) groups[{place(a), seen[place(a)]++}].add(a, i);
  }
  for (const auto& group : groups) add(counts, group.second);
}

}  // namespace

void count_accesses(Worker& w, int warp) {
  Thread* lanes = w.threads + warp * WARP;
  if (alike(lanes)) count_alike(w.counts, lanes);
  else count_apart(w.counts, lanes);
  for (int i = 0; i < WARP; ++i) lanes[i].log.clear();
}
