// model.so: what it needs of TVM's runtime is here, and its parallel loops run on the threads that it has itself.
#pragma once

#include <dlfcn.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "interface.h"
#include "tensors.h"
#include "workspaces.h"

namespace tenfold {
namespace detail {

inline std::string& raised() {  // why a kernel that this thread has called has failed
  static thread_local std::string text;
  return text;
}

inline void* allocate_workspace(int, int, uint64_t bytes, int, int) { return Workspaces::take(bytes); }

inline int free_workspace(int, int, void* data) {
  Workspaces::give_back(data);
  return 0;
}

}  // namespace detail
}  // namespace tenfold

// Functions of TVM's that a library calls by name, where a kernel was given what it was not compiled for. The program has to export them.
extern "C" {
#define TENFOLD_EXPORT __attribute__((used, visibility("default"))) inline
TENFOLD_EXPORT void TVMFFIErrorSetRaisedFromCStrParts(const char*, const char** parts, int32_t count) {
  tenfold::detail::raised().clear();
  for (int32_t i = 0; i < count; ++i)
    if (parts[i]) tenfold::detail::raised() += parts[i];
}
TENFOLD_EXPORT void TVMFFIErrorSetRaisedFromCStr(const char*, const char* message) { tenfold::detail::raised() = message; }
#undef TENFOLD_EXPORT
}

namespace tenfold {
namespace detail {

class Library {
 public:
  explicit Library(const std::string& path) : path_(path) {
    std::lock_guard<std::mutex> hold(process().lock);
    if (!dlsym(RTLD_DEFAULT, "TVMFFIErrorSetRaisedFromCStrParts"))
      throw Error(path + ": it can't find the functions of tenfold.h: link the program with -rdynamic (CMake: ENABLE_EXPORTS)");
    std::string spelled = spelling(path);
    handle_ = dlopen(spelled.c_str(), RTLD_LAZY | RTLD_LOCAL);
    if (!handle_) throw Error(path + ": can't be loaded as a compiled network: " + dlerror());
    try {
      connect(spelled);
    } catch (...) {
      dlclose(handle_);
      throw;
    }
  }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
  ~Library() { dlclose(handle_); }

  Function kernel(const std::string& name) const {
    return reinterpret_cast<Function>(symbol(handle_, "__tvm_ffi_" + name));
  }

  Function run = nullptr;
  void (*use_threads)(int) = nullptr;
  int (*launch)(Task, void*, int) = nullptr;

 private:
  struct Process {
    std::mutex lock;
    void* pool = nullptr;  // the library whose threads all networks run on: the first one, which stays
    std::map<std::string, std::vector<std::pair<dev_t, ino_t>>> files;
  };
  static Process& process() {
    static Process& process = *new Process;
    return process;
  }

  // The path, written in another way for each file that has been there: by a name that it knows, the loader gives back what it has.
  static std::string spelling(const std::string& path) {
    struct stat about = {};
    char* real = realpath(path.c_str(), nullptr);
    if (!real || stat(real, &about) != 0) {
      std::free(real);
      throw Error(path + ": can't be read: " + std::strerror(errno));
    }
    std::string found = real;
    std::free(real);
    auto& files = process().files[found];
    std::pair<dev_t, ino_t> file{about.st_dev, about.st_ino};
    size_t index = static_cast<size_t>(std::find(files.begin(), files.end(), file) - files.begin());
    if (index == files.size()) files.push_back(file);
    size_t slash = found.rfind('/');
    std::string folder = found.substr(0, slash);
    for (size_t i = 0; i < index; ++i) folder += "/.";
    return folder + found.substr(slash);
  }

  void* symbol(void* library, const std::string& name) const {
    void* found = dlsym(library, name.c_str());
    if (!found) throw Error(path_ + ": can't be loaded as a compiled network: it has no " + name);
    return found;
  }

  void connect(const std::string& spelled) {
    run = reinterpret_cast<Function>(symbol(handle_, "__tvm_ffi_tenfold_run"));
    for (const char* name : {"__TVMFFIFunctionCall", "__TVMFFIEnvModLookupFromImports", "__TVMFFIHandleInitOnce"})
      if (dlsym(handle_, name))
        throw NeedsTvm(path_ + ": its kernels call other functions of TVM's runtime: run it with Python (tenfold.load)");
    if (!process().pool) {
      for (const char* name : {"tenfold_use_threads", "tenfold_parallel_launch", "tenfold_parallel_barrier"}) symbol(handle_, name);
      process().pool = dlopen(spelled.c_str(), RTLD_LAZY | RTLD_LOCAL);
    }
    void* pool = process().pool;
    use_threads = reinterpret_cast<void (*)(int)>(symbol(pool, "tenfold_use_threads"));
    launch = reinterpret_cast<int (*)(Task, void*, int)>(symbol(pool, "tenfold_parallel_launch"));
    // Code calls these through variables of its library, which hold an address once it is loaded; those that no kernel uses are not there.
    const std::pair<const char*, void*> kFunctions[] = {
        {"__TVMBackendParallelLaunch", reinterpret_cast<void*>(launch)},
        {"__TVMBackendParallelBarrier", symbol(pool, "tenfold_parallel_barrier")},
        {"__TVMBackendAllocWorkspace", reinterpret_cast<void*>(allocate_workspace)},
        {"__TVMBackendFreeWorkspace", reinterpret_cast<void*>(free_workspace)},
        {"__TVMFFIErrorSetRaisedFromCStr", reinterpret_cast<void*>(TVMFFIErrorSetRaisedFromCStr)},
        {"__TVMFFIErrorSetRaisedFromCStrParts", reinterpret_cast<void*>(TVMFFIErrorSetRaisedFromCStrParts)},
    };
    for (auto [name, function] : kFunctions)
      if (void* variable = dlsym(handle_, name)) *static_cast<void**>(variable) = function;
  }

  std::string path_;
  void* handle_ = nullptr;
};

}  // namespace detail
}  // namespace tenfold
