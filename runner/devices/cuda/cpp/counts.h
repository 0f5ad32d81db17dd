// Accesses as they are logged, and what they add up to.
#pragma once
#include <cstdint>
#include <map>
#include <tuple>

enum class Space : uint8_t { shared, global };
struct Access { const void* site; uint64_t address; uint16_t bytes; Space space; bool store; };
struct Place {
  const void* site;
  Space space;
  bool store;
  bool operator==(const Place& o) const { return site == o.site && space == o.space && store == o.store; }
  bool operator<(const Place& o) const { return std::tie(site, space, store) < std::tie(o.site, o.space, o.store); }
};
struct SiteCount { int64_t site; int32_t space, store; int64_t requests, transactions, least; };  // as library.py has it
using Counts = std::map<Place, SiteCount>;
