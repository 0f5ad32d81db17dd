// A stand-in for NVIDIA's driver: host memory as that of GPUs, work of streams put off until someone waits, graphs, failures on demand.
// Kernels are a function of the test's. Nothing runs before it is waited for, so that memory which goes too early, or a missing wait, shows.
#include <dlfcn.h>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

enum { OK, INVALID_VALUE, OUT_OF_MEMORY, NO_DEVICE = 100, INVALID_DEVICE = 101, INVALID_IMAGE = 200, INVALID_CONTEXT = 201,
       INVALID_HANDLE = 400, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700 };
constexpr uint32_t FATBIN = 0xba55ed50;

struct Gpu { std::string name; int major, minor; size_t bytes, used = 0; int retained = 0; };
struct Context { int device; };
struct Function { uint64_t code; std::string name; int arguments; int shared = 48 << 10; };
struct Module { uint64_t code; std::map<std::string, std::unique_ptr<Function>> functions; };
struct Node { Function* function; unsigned sizes[7]; std::vector<uint64_t> arguments; };
struct Graph { std::vector<std::unique_ptr<Node>> nodes; };
struct Executable { std::map<const Node*, Node> nodes; std::vector<const Node*> order; };
struct Stream { std::deque<std::function<int()>> work; bool draining = false; int ran = 0; };
struct Event { Stream* stream = nullptr; std::chrono::steady_clock::time_point at; bool passed = false; };
struct Failure { int status, skip; };
struct Block { size_t size; int device; };

using Launcher = int (*)(uint64_t code, const char* kernel, const unsigned* sizes, const uint64_t* arguments, int count);

std::recursive_mutex one;
std::vector<Gpu> gpus;
std::vector<std::unique_ptr<Context>> contexts;
thread_local std::vector<Context*> current;
int version = 13000;
std::map<std::string, Failure> failures;
std::map<std::pair<uint64_t, std::string>, int> known;  // kernels of a code, and how many pointers they take
std::map<uint64_t, Block> blocks;
std::set<void*> modules, graphs, executables, streams, events;
Launcher launcher = nullptr;
Stream nobody;                                    // the default stream
int sticky = 0;                                   // what a kernel that failed leaves behind

int failing(const char* function) {
  auto at = failures.find(function);
  if (at == failures.end()) return OK;
  return at->second.skip-- > 0 ? OK : at->second.status;
}

#define ENTER(name)                               \
  std::lock_guard<std::recursive_mutex> lock(one); \
  if (int status = failing(name)) return status;
#define ENTER_CONTEXT(name)                        \
  ENTER(name)                                      \
  if (current.empty()) return INVALID_CONTEXT;     \
  if (sticky) return sticky;

bool holds(uint64_t address, size_t size) {
  auto at = blocks.upper_bound(address);
  if (at == blocks.begin()) return false;
  --at;
  return address + size <= at->first + at->second.size;
}

Stream* of(void* handle) { return handle == nullptr || handle == (void*)1 ? &nobody : static_cast<Stream*>(handle); }
bool is_stream(void* handle) { return of(handle) == &nobody || streams.count(handle); }

int drain(Stream* stream) {
  if (stream->draining) return OK;
  stream->draining = true;
  while (!stream->work.empty()) {
    std::function<int()> next = std::move(stream->work.front());
    stream->work.pop_front();
    int status = sticky ? sticky : next();
    ++stream->ran;
    if (status && !sticky) sticky = status;
  }
  stream->draining = false;
  return sticky;
}

int drain_all() {
  drain(&nobody);
  for (void* each : streams) drain(static_cast<Stream*>(each));
  return sticky;
}

int run(const Node& node) {
  for (uint64_t argument : node.arguments)
    if (!holds(argument, 1)) return ILLEGAL_ADDRESS;
  if (int status = failing("kernel")) return status;
  return launcher ? launcher(node.function->code, node.function->name.c_str(), node.sizes, node.arguments.data(), int(node.arguments.size())) : OK;
}

int fill(Node& node, void* function, const unsigned* sizes, void** parameters) {
  node.function = static_cast<Function*>(function);
  memcpy(node.sizes, sizes, sizeof node.sizes);
  for (int i = 0; i < 6; ++i) if (!sizes[i]) return INVALID_VALUE;
  if (sizes[3] * sizes[4] * sizes[5] > 1024 || int(sizes[6]) > node.function->shared) return INVALID_VALUE;
  node.arguments.clear();
  for (int i = 0; i < node.function->arguments; ++i) node.arguments.push_back(*static_cast<uint64_t*>(parameters[i]));
  return OK;
}

template <typename T> int destroy(std::set<void*>& all, void* handle) {
  if (!all.erase(handle)) return INVALID_HANDLE;
  delete static_cast<T*>(handle);
  return OK;
}

}  // namespace

struct NodeParams {  // CUDA_KERNEL_NODE_PARAMS_v2
  void* func;
  unsigned sizes[7];
  void** parameters;
  void** extra;
  void *kern, *ctx;
};

// What tests call.
EXPORT void standin_reset() {
  failures.clear(), known.clear(), gpus.clear(), contexts.clear(), current.clear();
  version = 13000, sticky = 0, launcher = nullptr;
  nobody.work.clear();
}
EXPORT void standin_gpu(const char* name, int major, int minor, uint64_t bytes) {
  gpus.push_back({name, major, minor, bytes});
  contexts.emplace_back(new Context{int(gpus.size()) - 1});
}
EXPORT void standin_version(int number) { version = number; }
EXPORT uint64_t standin_code(const void* image) {  // a number for a fatbin: two may have kernels of the same name
  uint64_t length, hash = 14695981039346656037u;
  memcpy(&length, static_cast<const char*>(image) + 8, sizeof length);
  for (size_t i = 0; i < 16 + length; ++i) hash = (hash ^ static_cast<const unsigned char*>(image)[i]) * 1099511628211u;
  return hash;
}
EXPORT void standin_kernel(uint64_t code, const char* name, int arguments) { known[{code, name}] = arguments; }
EXPORT void standin_launcher(Launcher function) { launcher = function; }
EXPORT void standin_fail(const char* function, int status, int skip) { failures[function] = {status, skip}; }
EXPORT void standin_heal() { failures.clear(), sticky = 0; }
EXPORT void standin_counts(int64_t* to) {
  int64_t bytes = 0, retained = 0;
  for (const Gpu& gpu : gpus) bytes += gpu.used, retained += gpu.retained;
  int64_t all[] = {int64_t(blocks.size()), bytes, int64_t(modules.size()), int64_t(streams.size()), int64_t(events.size()),
                   int64_t(graphs.size()), int64_t(executables.size()), retained, int64_t(current.size())};
  memcpy(to, all, sizeof all);
}
EXPORT int standin_pending(void* stream) { return int(of(stream)->work.size()); }

// What cuda.h declares.
EXPORT int cuInit(unsigned) { ENTER("cuInit") return gpus.empty() ? NO_DEVICE : OK; }
EXPORT int cuDriverGetVersion(int* to) { ENTER("cuDriverGetVersion") return *to = version, OK; }
EXPORT int cuGetErrorString(int status, const char** to) {
  static const std::map<int, const char*> words = {
      {INVALID_VALUE, "invalid argument"}, {OUT_OF_MEMORY, "out of memory"}, {NO_DEVICE, "no CUDA-capable device is detected"},
      {INVALID_DEVICE, "invalid device ordinal"}, {INVALID_IMAGE, "device kernel image is invalid"}, {INVALID_CONTEXT, "invalid device context"},
      {209, "no kernel image is available for execution on the device"}, {INVALID_HANDLE, "invalid resource handle"},
      {NOT_FOUND, "named symbol not found"}, {ILLEGAL_ADDRESS, "an illegal memory access was encountered"}, {719, "unspecified launch failure"}};
  auto at = words.find(status);
  *to = at == words.end() ? nullptr : at->second;
  return at == words.end() ? INVALID_VALUE : OK;
}
EXPORT int cuDeviceGetCount(int* to) { ENTER("cuDeviceGetCount") return *to = int(gpus.size()), OK; }
EXPORT int cuDeviceGet(int* to, int index) {
  ENTER("cuDeviceGet")
  if (index < 0 || index >= int(gpus.size())) return INVALID_DEVICE;
  return *to = index, OK;
}
EXPORT int cuDeviceGetName(char* to, int size, int device) {
  ENTER("cuDeviceGetName")
  return strncpy(to, gpus.at(device).name.c_str(), size), OK;
}
EXPORT int cuDeviceGetAttribute(int* to, int attribute, int device) {
  ENTER("cuDeviceGetAttribute")
  std::map<int, int> values = {{13, 1500000}, {16, 108}, {36, 1200000}, {37, 5120}, {38, 1 << 20}, {75, gpus.at(device).major}, {76, gpus.at(device).minor}};
  return values.count(attribute) ? (*to = values[attribute], OK) : INVALID_VALUE;
}
EXPORT int cuDevicePrimaryCtxRetain(void** to, int device) {
  ENTER("cuDevicePrimaryCtxRetain")
  ++gpus.at(device).retained;
  return *to = contexts.at(device).get(), OK;
}
EXPORT int cuDevicePrimaryCtxRelease_v2(int device) {
  ENTER("cuDevicePrimaryCtxRelease_v2")
  if (device >= int(gpus.size()) || !gpus[device].retained) return INVALID_CONTEXT;  // a network of an earlier test goes late
  return --gpus[device].retained, OK;
}
EXPORT int cuCtxPushCurrent_v2(void* context) {
  ENTER("cuCtxPushCurrent_v2")
  for (auto& each : contexts)
    if (each.get() == context) return current.push_back(each.get()), OK;
  return INVALID_CONTEXT;
}
EXPORT int cuCtxPopCurrent_v2(void** to) {
  ENTER("cuCtxPopCurrent_v2")
  if (current.empty()) return INVALID_CONTEXT;
  *to = current.back();
  return current.pop_back(), OK;
}
EXPORT int cuCtxSynchronize() { ENTER_CONTEXT("cuCtxSynchronize") return drain_all(); }

EXPORT int cuMemAlloc_v2(uint64_t* to, size_t size) {
  ENTER_CONTEXT("cuMemAlloc_v2")
  Gpu& gpu = gpus.at(current.back()->device);
  if (!size) return INVALID_VALUE;
  if (size > gpu.bytes - gpu.used) return OUT_OF_MEMORY;
  void* memory = aligned_alloc(256, (size + 511) / 256 * 256);
  memset(memory, 0x5a, std::min(size, size_t(1) << 24));  // of more, only what is used takes memory
  gpu.used += size;
  *to = reinterpret_cast<uint64_t>(memory);
  return blocks[*to] = {size, current.back()->device}, OK;
}
EXPORT int cuMemFree_v2(uint64_t address) {
  ENTER_CONTEXT("cuMemFree_v2")
  auto at = blocks.find(address);
  if (at == blocks.end()) return INVALID_VALUE;
  memset(reinterpret_cast<void*>(address), 0xa5, std::min(at->second.size, size_t(1) << 24));
  gpus.at(at->second.device).used -= at->second.size;
  blocks.erase(at);
  return free(reinterpret_cast<void*>(address)), OK;
}
EXPORT int cuPointerGetAttribute(void* to, int attribute, uint64_t address) {
  ENTER_CONTEXT("cuPointerGetAttribute")
  auto at = blocks.upper_bound(address);
  if (attribute != 9 || at == blocks.begin() || !holds(address, 1)) return INVALID_VALUE;
  return *static_cast<int*>(to) = (--at)->second.device, OK;
}
EXPORT int cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t size, void* stream) {
  ENTER_CONTEXT("cuMemcpyHtoDAsync_v2")
  if (!is_stream(stream) || !holds(to, size)) return INVALID_VALUE;
  return of(stream)->work.push_back([=] { return memcpy(reinterpret_cast<void*>(to), from, size), OK; }), OK;
}
EXPORT int cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t size, void* stream) {
  ENTER_CONTEXT("cuMemcpyDtoHAsync_v2")
  if (!is_stream(stream) || !holds(from, size)) return INVALID_VALUE;
  return of(stream)->work.push_back([=] { return memcpy(to, reinterpret_cast<void*>(from), size), OK; }), OK;
}
EXPORT int cuMemsetD8Async(uint64_t to, unsigned char byte, size_t size, void* stream) {
  ENTER_CONTEXT("cuMemsetD8Async")
  if (!is_stream(stream) || !holds(to, size)) return INVALID_VALUE;
  return of(stream)->work.push_back([=] { return memset(reinterpret_cast<void*>(to), byte, size), OK; }), OK;
}

EXPORT int cuStreamCreate(void** to, unsigned) { ENTER_CONTEXT("cuStreamCreate") return streams.insert(*to = new Stream), OK; }
EXPORT int cuStreamDestroy_v2(void* stream) {
  ENTER_CONTEXT("cuStreamDestroy_v2")
  if (streams.count(stream)) drain(of(stream));
  return destroy<Stream>(streams, stream);
}
EXPORT int cuStreamSynchronize(void* stream) {
  ENTER_CONTEXT("cuStreamSynchronize")
  return is_stream(stream) ? drain(of(stream)) : INVALID_HANDLE;
}
EXPORT int cuStreamWaitEvent(void* stream, void* event, unsigned) {
  ENTER_CONTEXT("cuStreamWaitEvent")
  if (!is_stream(stream) || !events.count(event)) return INVALID_HANDLE;
  Stream* other = static_cast<Event*>(event)->stream;
  return of(stream)->work.push_back([=] { return other ? drain(other) : OK; }), OK;
}
EXPORT int cuEventCreate(void** to, unsigned) { ENTER_CONTEXT("cuEventCreate") return events.insert(*to = new Event), OK; }
EXPORT int cuEventDestroy_v2(void* event) { ENTER_CONTEXT("cuEventDestroy_v2") return destroy<Event>(events, event); }
EXPORT int cuEventRecord(void* handle, void* stream) {
  ENTER_CONTEXT("cuEventRecord")
  if (!events.count(handle) || !is_stream(stream)) return INVALID_HANDLE;
  auto* event = static_cast<Event*>(handle);
  event->stream = of(stream), event->passed = false;
  return of(stream)->work.push_back([=] { return event->at = std::chrono::steady_clock::now(), event->passed = true, OK; }), OK;
}
EXPORT int cuEventSynchronize(void* event) {
  ENTER_CONTEXT("cuEventSynchronize")
  if (!events.count(event)) return INVALID_HANDLE;
  Stream* stream = static_cast<Event*>(event)->stream;
  return stream ? drain(stream) : OK;
}
EXPORT int cuEventElapsedTime_v2(float* to, void* from, void* until) {
  ENTER_CONTEXT("cuEventElapsedTime_v2")
  auto *begin = static_cast<Event*>(from), *end = static_cast<Event*>(until);
  if (!events.count(from) || !events.count(until)) return INVALID_HANDLE;
  if (!begin->passed || !end->passed) return 600;  // CUDA_ERROR_NOT_READY
  return *to = std::chrono::duration<float, std::milli>(end->at - begin->at).count(), OK;
}

EXPORT int cuModuleLoadData(void** to, const void* image) {
  ENTER_CONTEXT("cuModuleLoadData")
  uint32_t magic;
  memcpy(&magic, image, sizeof magic);
  if (magic != FATBIN) return INVALID_IMAGE;
  return modules.insert(*to = new Module{standin_code(image), {}}), OK;
}
EXPORT int cuModuleUnload(void* module) { ENTER_CONTEXT("cuModuleUnload") return destroy<Module>(modules, module); }
EXPORT int cuModuleGetFunction(void** to, void* module, const char* name) {
  ENTER_CONTEXT("cuModuleGetFunction")
  if (!modules.count(module)) return INVALID_HANDLE;
  auto* loaded = static_cast<Module*>(module);
  auto at = known.find({loaded->code, name});
  if (at == known.end()) at = known.find({0, name});
  if (at == known.end()) return NOT_FOUND;
  auto& function = loaded->functions[name];
  if (!function) function.reset(new Function{loaded->code, name, at->second});
  return *to = function.get(), OK;
}
EXPORT int cuFuncSetAttribute(void* function, int attribute, int value) {
  ENTER_CONTEXT("cuFuncSetAttribute")
  if (attribute != 8 || value < 0 || value > (227 << 10)) return INVALID_VALUE;
  return static_cast<Function*>(function)->shared = value, OK;
}
EXPORT int cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                          void* stream, void** parameters, void**) {
  ENTER_CONTEXT("cuLaunchKernel")
  Node node;
  const unsigned sizes[] = {gx, gy, gz, bx, by, bz, shared};
  if (!is_stream(stream)) return INVALID_HANDLE;
  if (int status = fill(node, function, sizes, parameters)) return status;
  return of(stream)->work.push_back([node] { return run(node); }), OK;
}

EXPORT int cuGraphCreate(void** to, unsigned flags) {
  ENTER_CONTEXT("cuGraphCreate")
  if (flags) return INVALID_VALUE;
  return graphs.insert(*to = new Graph), OK;
}
EXPORT int cuGraphDestroy(void* graph) { ENTER_CONTEXT("cuGraphDestroy") return destroy<Graph>(graphs, graph); }
EXPORT int cuGraphAddKernelNode_v2(void** to, void* handle, void* const* before, size_t count, const NodeParams* params) {
  ENTER_CONTEXT("cuGraphAddKernelNode_v2")
  if (!graphs.count(handle)) return INVALID_HANDLE;
  auto* graph = static_cast<Graph*>(handle);
  // The stand-in runs nodes in the order in which they came, so it takes no other order.
  const Node* last = graph->nodes.empty() ? nullptr : graph->nodes.back().get();
  if (count != (last != nullptr) || (count && before[0] != last)) return INVALID_VALUE;
  auto node = std::make_unique<Node>();
  if (int status = fill(*node, params->func, params->sizes, params->parameters)) return status;
  *to = node.get();
  return graph->nodes.push_back(std::move(node)), OK;
}
EXPORT int cuGraphInstantiateWithFlags(void** to, void* handle, unsigned long long flags) {
  ENTER_CONTEXT("cuGraphInstantiateWithFlags")
  if (!graphs.count(handle) || flags) return INVALID_VALUE;
  auto* executable = new Executable;
  for (auto& node : static_cast<Graph*>(handle)->nodes) executable->nodes[node.get()] = *node, executable->order.push_back(node.get());
  return executables.insert(*to = executable), OK;
}
EXPORT int cuGraphExecKernelNodeSetParams_v2(void* handle, void* node, const NodeParams* params) {
  ENTER_CONTEXT("cuGraphExecKernelNodeSetParams_v2")
  if (!executables.count(handle)) return INVALID_HANDLE;
  auto& nodes = static_cast<Executable*>(handle)->nodes;
  auto at = nodes.find(static_cast<Node*>(node));
  return at == nodes.end() ? INVALID_VALUE : fill(at->second, params->func, params->sizes, params->parameters);
}
EXPORT int cuGraphExecDestroy(void* graph) { ENTER_CONTEXT("cuGraphExecDestroy") return destroy<Executable>(executables, graph); }
EXPORT int cuGraphLaunch(void* handle, void* stream) {
  ENTER_CONTEXT("cuGraphLaunch")
  if (!executables.count(handle) || !is_stream(stream)) return INVALID_HANDLE;
  auto* executable = static_cast<Executable*>(handle);
  for (const Node* each : executable->order) {
    const Node& node = executable->nodes[each];
    of(stream)->work.push_back([node] { return run(node); });
  }
  return OK;
}

// In a process that no test sets up: STANDIN names a file with the library of an emulated program, then for each GPU "gpu MAJOR MINOR BYTES",
// for each kernel "kernel NAME" and the bytes of its operands, and for each failure "fail FUNCTION STATUS".
namespace {

struct Operand { uint64_t data, bytes; const char* name; int32_t element, output, written; };  // as runner/devices/cuda/library.py has them
struct Request {
  const char* kernel;
  int32_t grid[3], block[3];
  int64_t shared_bytes;
  Operand* operands;
  int32_t operand_count, order;
  uint64_t seed;
  const int64_t* blocks;
  int64_t block_count;
  int32_t workers, checks, counting;
};
struct Report { int32_t failed, thread; int64_t block, site; int32_t line; char text[400]; };

std::map<std::string, std::vector<uint64_t>> operand_bytes;
int (*emulate)(Request*, Report*) = nullptr;

int emulated(uint64_t, const char* kernel, const unsigned* sizes, const uint64_t* arguments, int count) {
  std::vector<Operand> operands;
  for (int i = 0; i < count; ++i) operands.push_back({arguments[i], operand_bytes[kernel][i], "", 4, -1, 0});
  std::vector<int64_t> blocks(int64_t(sizes[0]) * sizes[1] * sizes[2]);
  for (size_t i = 0; i < blocks.size(); ++i) blocks[i] = int64_t(i);
  Request request{kernel, {}, {}, sizes[6], operands.data(), count, 0, 0, blocks.data(), int64_t(blocks.size()), 1, 1, 0};
  for (int i = 0; i < 3; ++i) request.grid[i] = int(sizes[i]), request.block[i] = int(sizes[3 + i]);
  Report report{};
  return emulate(&request, &report) || report.failed ? 719 : OK;
}

void set_up() {
  const char* path = getenv("STANDIN");
  if (!path) return;
  std::ifstream file(path);
  std::string line, word, name;
  std::getline(file, line);
  emulate = reinterpret_cast<int (*)(Request*, Report*)>(dlsym(dlopen(line.c_str(), RTLD_NOW), "emulator_launch"));
  launcher = emulated;
  while (file >> word) {
    if (word == "gpu") {
      int major, minor;
      uint64_t bytes;
      file >> major >> minor >> bytes;
      standin_gpu("Stand-in", major, minor, bytes);
    } else if (word == "fail") {
      int status;
      file >> name >> status;
      standin_fail(name.c_str(), status, 0);
    } else if (word == "version") {
      file >> version;
    } else {
      file >> name;
      std::getline(file, line);
      char* at = line.data();
      for (char* end = at; ; at = end) {
        uint64_t bytes = strtoull(at, &end, 10);
        if (end == at) break;
        operand_bytes[name].push_back(bytes);
      }
      standin_kernel(0, name.c_str(), int(operand_bytes[name].size()));
    }
  }
}
const bool is_set_up = (set_up(), true);  // behind all that it fills

}  // namespace
