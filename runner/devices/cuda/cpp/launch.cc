#include <sys/mman.h>
#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <thread>
#include "machine.h"

struct EmulatorKernel { const char* name; void (*call)(void**); };
extern "C" __attribute__((visibility("hidden"))) const EmulatorKernel emulator_kernels[];

namespace {

constexpr uint64_t LARGEST_SLOT = 32ull << 30, SMALLEST_SLOT = 64ull << 20;  // a 32-bit index of floats stays within the largest

std::vector<std::unique_ptr<Worker>> pool;
std::vector<SiteCount> counts;
std::mutex one_launch;

// One part of the address space for each operand, the operand in its middle, so that no index out of bounds meets another operand.
bool place(Launch& launch) {
  const Request& r = *launch.request;
  uint64_t needed = SMALLEST_SLOT;
  for (int i = 0; i < r.operand_count; ++i) needed = std::max(needed, 4 * r.operands[i].bytes);
  for (launch.slot = LARGEST_SLOT; launch.slot >= needed; launch.slot /= 2) {
    void* at = mmap(nullptr, launch.slot * r.operand_count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) continue;
    launch.global_base = reinterpret_cast<uintptr_t>(at);
    return true;
  }
  return false;
}

char* memory_of(const Launch& launch, int operand) {
  return reinterpret_cast<char*>(launch.global_base + operand * launch.slot + launch.slot / 2);
}

size_t cell_bytes(const Operand& operand) { return (operand.bytes + GRANULE - 1) / GRANULE * sizeof(GlobalCell); }

bool copy_in(Launch& launch) {
  Request& r = *launch.request;
  for (int i = 0; i < r.operand_count; ++i) {
    Operand& o = r.operands[i];
    launch.arguments.push_back(memory_of(launch, i));
    if (o.output == 1) memset(memory_of(launch, i), 0xff, o.bytes);  // NaN
    else memcpy(memory_of(launch, i), o.data, o.bytes);
    launch.cells.push_back(nullptr);
    if (!r.checks || !o.output || !o.bytes) continue;
    void* at = mmap(nullptr, cell_bytes(o), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) return false;
    launch.cells.back() = static_cast<GlobalCell*>(at);
  }
  return true;
}

void copy_out(Launch& launch) {
  Request& r = *launch.request;
  for (size_t i = 0; i < launch.cells.size(); ++i) {
    const Operand& o = r.operands[i];
    if (o.output == 1 || o.written || (!r.checks && o.output)) memcpy(o.data, memory_of(launch, i), o.bytes);
    if (launch.cells[i]) munmap(launch.cells[i], cell_bytes(o));
  }
  munmap(reinterpret_cast<void*>(launch.global_base), launch.slot * r.operand_count);
}

// Each worker takes the next block until none is left. After a failure only blocks before it are still run, so the first one is reported.
void work(Worker& w, std::atomic<int64_t>& next, std::atomic<int64_t>& limit) {
  worker = &w;
  const Request& r = *w.launch->request;
  for (int64_t i = next++; i < r.block_count && i < limit; i = next++) {
    w.run_block(r.blocks[i]);
    if (!w.report.failed) continue;
    for (int64_t seen = limit; i < seen && !limit.compare_exchange_weak(seen, i);) {
    }
    return;
  }
}

void add_counts(const std::vector<SiteCount>& more) {
  for (const SiteCount& c : more) {
    auto same = [&](const SiteCount& other) { return other.site == c.site && other.space == c.space && other.store == c.store; };
    auto at = std::find_if(counts.begin(), counts.end(), same);
    if (at == counts.end()) at = counts.insert(counts.end(), {c.site, c.space, c.store, 0, 0, 0});
    at->requests += c.requests;
    at->transactions += c.transactions;
    at->least += c.least;
  }
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int emulator_launch(Request* request, Report* report) {
  std::lock_guard<std::mutex> lock(one_launch);
  counts.clear();
  Launch launch{request, nullptr, {}, 0, 0, {}, request->block[0] * request->block[1] * request->block[2]};
  for (const EmulatorKernel* k = emulator_kernels; k->name; ++k)
    if (!strcmp(k->name, request->kernel)) launch.call = k->call;
  if (!launch.call) return 1;
  if (!place(launch)) return 2;
  if (!copy_in(launch)) {
    copy_out(launch);
    return 2;
  }
  while (int(pool.size()) < request->workers) {
    pool.emplace_back(new Worker);
    if (!pool.back()->reserve()) return 2;
  }
  std::atomic<int64_t> next{0}, limit{INT64_MAX};
  std::vector<std::thread> threads;
  for (int i = 0; i < request->workers; ++i) {
    Worker& w = *pool[i];
    w.launch = &launch;
    w.report = {};
    w.shared_count = 0;
    w.counts.clear();
    threads.emplace_back(work, std::ref(w), std::ref(next), std::ref(limit));
  }
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < request->workers; ++i) {
    if (pool[i]->report.failed && (!report->failed || pool[i]->report.block < report->block)) *report = pool[i]->report;
    add_counts(pool[i]->counts);
  }
  copy_out(launch);
  return 0;
}

extern "C" __attribute__((visibility("default"))) int emulator_counts(SiteCount* to, int capacity) {
  for (int i = 0; i < capacity && i < int(counts.size()); ++i) to[i] = counts[i];
  return counts.size();
}
