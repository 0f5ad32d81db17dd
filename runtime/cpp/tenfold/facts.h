// What this machine is, for who compiles for it elsewhere. targets/host.py makes a target of it; targets/detection.py tells the same of a
// machine with Python, and the reasons.
#pragma once


#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "cpu.h"

namespace tenfold {
namespace detail {

struct Facts {
  std::string architecture, vendor, name;
  int64_t family = 0, model = 0;
  int cores = 1;
  int64_t caches[3] = {0, 0, 0};  // bytes of L1, L2, L3; 0: not known
  std::set<std::string> flags;
};

// A small file, without white space at its ends; empty if it can't be read.
inline std::string text_of(const std::string& path) {
  std::ifstream file(path);
  std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  size_t end = text.find_last_not_of(" \t\r\n"), begin = text.find_first_not_of(" \t\r\n");
  return end == std::string::npos ? "" : text.substr(begin, end - begin + 1);
}

inline bool is_number(const std::string& text) {
  return !text.empty() && text.size() < 18 && text.find_first_not_of("0123456789") == std::string::npos;
}

inline std::string cpu_folder(int cpu) { return "/sys/devices/system/cpu/cpu" + std::to_string(cpu); }

// CPUs that this process may use; where there are large and small ones, the large ones.
inline std::vector<int> large_cpus() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) CPU_SET(0, &allowed);
  std::vector<int> all, large;
  std::map<int, int64_t> capacities;
  int64_t most = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    all.push_back(cpu);
    std::string capacity = text_of(cpu_folder(cpu) + "/cpu_capacity");
    if (is_number(capacity)) most = std::max<int64_t>(most, capacities[cpu] = std::atoll(capacity.c_str()));
  }
  if (capacities.size() != all.size()) return all;
  for (auto [cpu, capacity] : capacities)
    if (capacity == most) large.push_back(cpu);
  return large;
}

// CPUs that a control group allows; 0: no limit.
inline double quota_of(const std::string& folder) {
  std::string both = text_of(folder + "/cpu.max");
  if (both.empty()) both = text_of(folder + "/cpu.cfs_quota_us") + " " + text_of(folder + "/cpu.cfs_period_us");
  size_t space = both.find(' ');
  std::string quota = both.substr(0, space), period = space == std::string::npos ? "" : both.substr(space + 1);
  return is_number(quota) && is_number(period) && std::atof(period.c_str()) > 0 ? std::atof(quota.c_str()) / std::atof(period.c_str()) : 0;
}

// CPUs that the control groups of this process allow, the tightest of all levels; 0: no limit.
inline double cgroup_quota() {
  std::ifstream groups("/proc/self/cgroup");
  double tightest = 0;
  for (std::string line; std::getline(groups, line);) {
    size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    if (controllers != ",," && controllers.find(",cpu,") == std::string::npos) continue;
    std::string root = controllers == ",," ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu", folder = root + line.substr(second + 1);
    for (; folder.size() >= root.size(); folder.erase(folder.rfind('/'))) {
      double quota = quota_of(folder);
      if (quota > 0 && (tightest == 0 || quota < tightest)) tightest = quota;
    }
  }
  return tightest;
}

inline int usable_cores(const std::vector<int>& cpus) {
  std::set<std::string> siblings;
  for (int cpu : cpus) {
    std::string listed = text_of(cpu_folder(cpu) + "/topology/thread_siblings_list");
    siblings.insert(listed.empty() ? "cpu" + std::to_string(cpu) : listed);
  }
  int cores = static_cast<int>(siblings.size());
  double quota = cgroup_quota();
  return std::max(1, quota > 0 ? std::min(cores, static_cast<int>(quota)) : cores);
}

inline void read_caches(int cpu, int64_t* bytes) {
  for (int index = 0; index < 16; ++index) {
    std::string folder = cpu_folder(cpu) + "/cache/index" + std::to_string(index), kind = text_of(folder + "/type");
    std::string level = text_of(folder + "/level"), size = text_of(folder + "/size");
    if ((kind != "Data" && kind != "Unified") || level.size() != 1 || level[0] < '1' || level[0] > '3' || size.empty()) continue;
    int64_t unit = size.back() == 'K' ? 1 << 10 : size.back() == 'M' ? 1 << 20 : size.back() == 'G' ? 1 << 30 : 1;
    if (unit != 1) size.pop_back();
    if (is_number(size)) bytes[level[0] - '1'] = std::atoll(size.c_str()) * unit;
  }
}

#if defined(__x86_64__)
// Asked of the CPU itself: /proc/cpuinfo tells of another one where this one is emulated.
inline void identify(Facts& facts, int) {
  uint32_t words[12] = {};
  facts.architecture = "x86_64";
  if (__get_cpuid(0, &words[0], &words[1], &words[2], &words[3]))
    for (int word : {1, 3, 2}) facts.vendor.append(reinterpret_cast<char*>(&words[word]), 4);
  if (__get_cpuid(1, &words[0], &words[1], &words[2], &words[3])) {
    uint32_t family = words[0] >> 8 & 15;
    facts.family = family + (family == 15 ? words[0] >> 20 & 255 : 0);
    facts.model = (words[0] >> 4 & 15) + (family == 6 || family == 15 ? (words[0] >> 16 & 15) << 4 : 0);
  }
  std::memset(words, 0, sizeof words);
  for (uint32_t part = 0; part < 3; ++part) {
    uint32_t* at = words + 4 * part;
    __get_cpuid(0x80000002 + part, at, at + 1, at + 2, at + 3);
  }
  std::string name(reinterpret_cast<char*>(words), strnlen(reinterpret_cast<char*>(words), sizeof words));
  size_t begin = name.find_first_not_of(' '), end = name.find_last_not_of(' ');
  facts.name = begin == std::string::npos ? facts.architecture : name.substr(begin, end - begin + 1);
}
#else
// The register that says which core it is: as Linux shows it of each CPU, or as this CPU lets a process read it.
inline void identify(Facts& facts, int cpu) {
  facts.architecture = "aarch64";
  facts.name = text_of("/proc/device-tree/model").c_str();  // of a board, such as Raspberry Pi 4 Model B; it ends with a zero byte
  if (facts.name.empty()) facts.name = facts.architecture;
  uint64_t midr = std::strtoull(text_of(cpu_folder(cpu) + "/regs/identification/midr_el1").c_str(), nullptr, 16);
  if (!midr && getauxval(AT_HWCAP) >> 11 & 1) asm volatile("mrs %0, midr_el1" : "=r"(midr));
  if (!midr) return;
  static const char kDigits[] = "0123456789abcdef";
  unsigned vendor = midr >> 24 & 255;
  facts.vendor = std::string("0x") + (vendor > 15 ? std::string(1, kDigits[vendor >> 4]) : "") + kDigits[vendor & 15];
  facts.model = midr >> 4 & 0xfff;
}
#endif

inline Facts facts() {
  Facts found;
  std::vector<int> cpus = large_cpus();
  int first = cpus.empty() ? 0 : cpus.front();
  identify(found, first);
  found.flags = cpu_flags();
  found.cores = usable_cores(cpus);
  read_caches(first, found.caches);
  return found;
}

}  // namespace detail
}  // namespace tenfold
