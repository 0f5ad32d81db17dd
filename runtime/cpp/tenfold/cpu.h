// The CPU of this process.
#pragma once

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#else
#error "tenfold.h runs networks on x86-64 and aarch64"
#endif
#include <sched.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace tenfold {
namespace detail {

// What the CPU can do, as flags of /proc/cpuinfo. The CPU is asked itself: that file tells of another one where this one is emulated.
inline std::set<std::string> cpu_flags() {
  std::set<std::string> flags;
#if defined(__x86_64__)
  struct Leaf {
    uint32_t leaf, subleaf;
    int word;  // EAX, EBX, ECX, EDX
    std::vector<std::pair<const char*, int>> bits;
  };
  static const Leaf kLeaves[] = {
      {1, 0, 2, {{"pni", 0}, {"ssse3", 9}, {"fma", 12}, {"sse4_1", 19}, {"sse4_2", 20}, {"movbe", 22}, {"popcnt", 23}, {"avx", 28}}},
      {1, 0, 2, {{"f16c", 29}}},
      {7, 0, 1, {{"bmi1", 3}, {"avx2", 5}, {"bmi2", 8}, {"avx512f", 16}, {"avx512dq", 17}, {"avx512ifma", 21}, {"avx512cd", 28}}},
      {7, 0, 1, {{"avx512bw", 30}, {"avx512vl", 31}}},
      {7, 0, 2, {{"avx512vbmi", 1}, {"avx512_vbmi2", 6}, {"gfni", 8}, {"vaes", 9}, {"vpclmulqdq", 10}, {"avx512_vnni", 11}}},
      {7, 0, 2, {{"avx512_bitalg", 12}, {"avx512_vpopcntdq", 14}}},
      {7, 0, 3, {{"avx512_fp16", 23}}},
      {7, 1, 0, {{"avx_vnni", 4}, {"avx512_bf16", 5}}},
      {0x80000001, 0, 2, {{"abm", 5}, {"xop", 11}, {"fma4", 16}, {"tbm", 21}}}};
  uint32_t words[4] = {}, saved = 0, high;  // saved: the registers that the system saves for a process (XCR0)
  if (__get_cpuid(1, &words[0], &words[1], &words[2], &words[3]) && words[2] >> 27 & 1)
    asm volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
  for (const Leaf& each : kLeaves) {
    if (!__get_cpuid_count(each.leaf, each.subleaf, &words[0], &words[1], &words[2], &words[3])) continue;
    for (auto [flag, bit] : each.bits) {
      std::string name = flag;
      auto begins = [&name](const char* with) { return name.rfind(with, 0) == 0; };
      uint32_t needed = begins("avx512") ? 0xe6 : begins("avx") || begins("fma") || begins("f16c") || begins("xop") ? 6 : 0;
      if (words[each.word] >> bit & 1 && (saved & needed) == needed) flags.insert(name);
    }
  }
#else
  static const char* const kNames[] = {  // in the order of the bits of AT_HWCAP and AT_HWCAP2
      "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc dcpop sha3 sm3 sm4 asimddp sha512 "
      "sve asimdfhm dit uscat ilrcpc flagm ssbs sb paca pacg ",
      "dcpodp sve2 sveaes svepmull svebitperm svesha3 svesm4 flagm2 frint svei8mm svef32mm svef64mm svebf16 i8mm bf16 dgh rng bti mte "};
  for (int word = 0; word < 2; ++word) {
    uint64_t bits = getauxval(word ? AT_HWCAP2 : AT_HWCAP);
    for (const char *name = kNames[word], *end; (end = std::strchr(name, ' ')); name = end + 1, bits >>= 1)
      if (bits & 1) flags.insert(std::string(name, end));
  }
#endif
  return flags;
}

// Physical cores that this process may use.
inline int physical_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  std::set<std::string> cores;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 1;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    std::string siblings;
    std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list");
    if (!std::getline(file, siblings)) siblings = "cpu" + std::to_string(cpu);
    cores.insert(siblings);
  }
  return std::max<int>(1, static_cast<int>(cores.size()));
}

}  // namespace detail
}  // namespace tenfold
