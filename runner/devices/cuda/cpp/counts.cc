// Memory transactions of a warp's accesses. The accesses of its lanes belong together when they are made at the same place of the program, and
// are there the lane's n-th since the barrier.
#include <algorithm>
#include <map>
#include "machine.h"

namespace {

struct Lanes {
  Access access[WARP];
  int count = 0;
};

// Wavefronts of a shared-memory instruction: 32 banks of 4 bytes; 8 bytes a lane go by half warps, 16 by quarters; a word is sent to all
// lanes that ask for it.
void shared_cost(const Lanes& lanes, const int* lane_numbers, SiteCount& count) {
  const int bytes = lanes.access[0].bytes, group = bytes <= 4 ? WARP : WARP * 4 / bytes;
  uint64_t words[WARP * 4];
  for (int first = 0; first < WARP; first += group) {
    int n = 0;
    for (int i = 0; i < lanes.count; ++i)
      if (lane_numbers[i] >= first && lane_numbers[i] < first + group)
        for (int b = 0; b < std::max(bytes, 4); b += 4) words[n++] = (lanes.access[i].address + b) / 4;
    if (!n) continue;
    std::sort(words, words + n);
    n = std::unique(words, words + n) - words;
    int banks[32] = {}, worst = 0;
    for (int i = 0; i < n; ++i) worst = std::max(worst, ++banks[words[i] % 32]);
    count.transactions += worst;
    count.least += 1;
  }
}

// Sectors of 32 bytes that a global-memory instruction touches, and the fewest that its bytes fit into.
void global_cost(const Lanes& lanes, SiteCount& count) {
  uint64_t sectors[WARP * 2], units[WARP * 16];
  int n = 0, m = 0;
  for (int i = 0; i < lanes.count; ++i) {
    const Access& a = lanes.access[i];
    const int unit = std::min<int>(a.bytes, 4);
    sectors[n++] = a.address / 32;
    sectors[n++] = (a.address + a.bytes - 1) / 32;
    for (int b = 0; b < a.bytes; b += unit) units[m++] = (a.address + b) / unit;
  }
  std::sort(sectors, sectors + n);
  std::sort(units, units + m);
  count.transactions += std::unique(sectors, sectors + n) - sectors;
  count.least += ((std::unique(units, units + m) - units) * std::min<int>(lanes.access[0].bytes, 4) + 31) / 32;
}

}  // namespace

void count_accesses(Worker& w, int warp) {
  struct Key {
    const void* site;
    Space space;
    bool store;
    int occurrence;
    bool operator<(const Key& o) const {
      return std::tie(site, space, store, occurrence) < std::tie(o.site, o.space, o.store, o.occurrence);
    }
  };
  std::map<Key, std::pair<Lanes, std::vector<int>>> groups;
  for (int i = 0; i < WARP; ++i) {
    Thread& t = w.threads[warp * WARP + i];
    std::map<std::tuple<const void*, Space, bool>, int> seen;
    for (const Access& a : t.log) {
      auto& [lanes, numbers] = groups[{a.site, a.space, a.store, seen[{a.site, a.space, a.store}]++}];
      lanes.access[lanes.count++] = a;
      numbers.push_back(i);
    }
    t.log.clear();
  }
  extern const char base __asm__("__ehdr_start") __attribute__((visibility("hidden")));
  for (auto& [key, group] : groups) {
    const int64_t site = static_cast<const char*>(key.site) - &base;
    auto same = [&](const SiteCount& c) { return c.site == site && c.space == int(key.space) && c.store == int(key.store); };
    auto at = std::find_if(w.counts.begin(), w.counts.end(), same);
    if (at == w.counts.end()) at = w.counts.insert(w.counts.end(), {site, int(key.space), key.store, 0, 0, 0});
    at->requests += 1;
    if (key.space == Space::shared) shared_cost(group.first, group.second.data(), *at);
    else global_cost(group.first, *at);
  }
}
