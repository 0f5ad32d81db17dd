#include <sys/mman.h>
#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>
#include "machine.h"

struct EmulatorKernel { const char* name; void (*call)(void**); };
extern "C" __attribute__((visibility("hidden"))) const EmulatorKernel emulator_kernels[];
extern "C" __attribute__((visibility("hidden"))) const char __ehdr_start;

namespace {

constexpr uint64_t LARGEST_SLOT = 32ull << 30, SMALLEST_SLOT = 64ull << 20;  // a 32-bit index of floats stays within the largest

// One part of the address space for each operand, the operand in its middle, so that no index out of bounds meets another operand.
bool place(Launch& launch) {
  const Request& r = *launch.request;
  uint64_t needed = SMALLEST_SLOT;
  for (int i = 0; i < r.operand_count; ++i) needed = std::max(needed, 4 * r.operands[i].bytes);
  for (launch.slot = LARGEST_SLOT; launch.slot >= needed; launch.slot /= 2) {
    void* at = mmap(nullptr, launch.slot * std::max(1, r.operand_count), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
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
  if (!r.checks)  // nobody has noted what was written
    for (size_t i = 0; i < launch.cells.size(); ++i)
      if (r.operands[i].output) r.operands[i].written = memcmp(r.operands[i].data, memory_of(launch, i), r.operands[i].bytes) != 0;
  for (size_t i = 0; i < launch.cells.size(); ++i) {
    const Operand& o = r.operands[i];
    if (o.output == 1 || o.written) memcpy(o.data, memory_of(launch, i), o.bytes);
    if (launch.cells[i]) munmap(launch.cells[i], cell_bytes(o));
  }
  munmap(reinterpret_cast<void*>(launch.global_base), launch.slot * std::max(1, r.operand_count));
}

// Each worker takes the next block until none is left. After a failure only blocks before it are still run, so the first one is reported.
void work(Worker& w, std::atomic<int64_t>& next, std::atomic<int64_t>& limit) {
  const Request& r = *w.launch->request;
  for (int64_t i = next++; i < r.block_count && i < limit; i = next++) {
    w.run_block(r.blocks[i]);
    if (!w.report.failed) continue;
    for (int64_t seen = limit; i < seen && !limit.compare_exchange_weak(seen, i);) {
    }
    return;
  }
}

void hand_over(const Counts& counts, Request& request) {
  request.count_size = 0;
  for (const auto& [place, count] : counts) {
    if (request.count_size < request.count_room) {
      const int64_t site = static_cast<const char*>(place.site) - &__ehdr_start;
      request.counts[request.count_size] = {site, int(place.space), place.store, count.requests, count.transactions, count.least};
    }
    ++request.count_size;
  }
}

bool run(Launch& launch, Report& report) {
  Request& request = *launch.request;
  std::vector<std::unique_ptr<Worker>> workers;
  for (int i = 0; i < request.workers; ++i) {
    workers.emplace_back(new Worker);
    workers.back()->launch = &launch;
    if (!workers.back()->reserve()) return false;
  }
  std::atomic<int64_t> next{0}, limit{INT64_MAX};
  std::vector<std::thread> threads;
  for (auto& one : workers) threads.emplace_back(work, std::ref(*one), std::ref(next), std::ref(limit));
  for (std::thread& thread : threads) thread.join();
  Counts counts;
  for (auto& one : workers) {
    if (one->report.failed && (!report.failed || one->report.block < report.block)) report = one->report;
    for (const auto& [place, count] : one->counts) {
      SiteCount& sum = counts[place];
      sum.requests += count.requests;
      sum.transactions += count.transactions;
      sum.least += count.least;
    }
  }
  hand_over(counts, request);
  return true;
}

}  // namespace

// Not 0: there is no such kernel (1), or not enough address space (2).
extern "C" __attribute__((visibility("default"))) int emulator_launch(Request* request, Report* report) {
  Launch launch{request, nullptr, {}, 0, 0, {}, request->block[0] * request->block[1] * request->block[2]};
  for (const EmulatorKernel* k = emulator_kernels; k->name; ++k)
    if (!strcmp(k->name, request->kernel)) launch.call = k->call;
  if (!launch.call) return 1;
  if (!place(launch)) return 2;
  const bool done = copy_in(launch) && run(launch, *report);
  copy_out(launch);
  return done ? 0 : 2;
}
