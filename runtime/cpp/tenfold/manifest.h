// manifest.json, as far as it takes to run the network: runtime/manifest.py reads all of it.
#pragma once

#include <sys/stat.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cpu.h"
#include "json.h"
#include "mapping.h"
#include "sha256.h"
#include "tensors.h"

namespace tenfold {
namespace detail {

constexpr size_t kMostSizes = 32;

struct Manifest {
  std::vector<Port> inputs, outputs;
  int threads = 1;
  int64_t pieces = 0;  // 0: not known
  std::string library_sha256, weights_sha256;  // empty: not known
  std::vector<std::string> features;           // that the code needs: of a CPU, or the GPUs that there is code for
};

inline std::vector<Port> ports(const Json& listed) {
  std::vector<Port> found;
  for (const Json& each : listed.of('[', "a list").items) {
    Port port{each["name"].string(), {}, each["dtype"].string()};
    for (const Json& size : each["shape"].of('[', "a list").items) port.shape.push_back(size.whole(0, kMostBytes));
    possible(port.shape, dtype_of(port.dtype).bits / 8);
    for (const Port& other : found)
      if (other.name == port.name) throw Error("two of them have the same name");
    found.push_back(port);
  }
  return found;
}

// Says why code for a target can't run on this CPU; an empty text where it can.
inline std::string lacking(const Json& target) {
#if defined(__x86_64__)
  const char* architecture = "x86_64";
#else
  const char* architecture = "aarch64";
#endif
  std::string name = target["name"].string(), made_for = target["architecture"].string();
  if (made_for != architecture) return name + " is " + made_for + ", this machine is " + architecture;
  std::set<std::string> flags = cpu_flags();
  for (const Json& each : target["features"].of('[', "a list").items)
    if (!flags.count(each.string())) return name + " needs " + each.string() + ", which this machine lacks";
  return "";
}

// A file of a size, counted from 1: model.so, model.2.so.
inline std::string numbered(const std::string& name, size_t number) {
  size_t dot = name.rfind('.');
  return number == 1 ? name : name.substr(0, dot + 1) + std::to_string(number) + name.substr(dot);
}

// library: the file with the code, model.so or model.cuda. number: of the size, where there are several.
inline Manifest read_manifest(const std::string& folder, const std::string& library = "model.so", size_t number = 1) {
  const std::string path = folder + "/" + numbered("manifest.json", number);
  struct stat about = {};
  if (stat(folder.c_str(), &about) != 0) throw Error(folder + ": " + std::strerror(errno));
  if (!S_ISDIR(about.st_mode)) throw Error(folder + ": this is a file, not an artifact folder");
  const bool on_gpu = library == "model.cuda";
  if (!on_gpu && stat((folder + "/model.cuda").c_str(), &about) == 0)
    throw Error(folder + ": it is for GPUs: load it with tenfold::GpuNetwork (tenfold_cuda.h)");
  for (const std::string& plain : {std::string("manifest.json"), library, std::string("weights.bin")})
    if (std::string name = numbered(plain, number); stat((folder + "/" + name).c_str(), &about) != 0)
      throw Error(folder + ": not an artifact: there is no " + name + " in it");
  Mapping file(path);
  Manifest manifest;
  std::string lack;
  try {
    Json json = JsonReader(file.data(), file.size()).read();
    const std::string& format = json["format"].of('0', "a whole number").text;
    if (format != std::to_string(kFormat))
      throw Error("format " + format.substr(0, 40) + ", this reads " + std::to_string(kFormat) + ": compile the network again");
    manifest.inputs = ports(json["inputs"]);
    manifest.outputs = ports(json["outputs"]);
    manifest.threads = static_cast<int>(json["threads"].whole(1, kMostThreads));
    manifest.pieces = json["pieces"].whole(1, INT64_MAX);
    manifest.library_sha256 = json["library_sha256"].string();
    manifest.weights_sha256 = json["weights_sha256"].string();
    for (const Json& each : json["target"]["features"].of('[', "a list").items) manifest.features.push_back(each.string());
    if (!on_gpu) lack = lacking(json["target"]);
  } catch (const Error& error) {
    throw Error(path + ": " + error.what());
  }
  if (!lack.empty()) throw Error(folder + ": it is for another CPU: " + lack);
  return manifest;
}

// SHA-256 of the library and of the file of weights of each size of an artifact; none for an ordinary one. runtime/sizes.py tells of it.
inline std::vector<std::pair<std::string, std::string>> read_sizes(const std::string& folder) {
  std::vector<std::pair<std::string, std::string>> sizes;
  const std::string path = folder + "/sizes.json";
  struct stat about = {};
  if (stat(path.c_str(), &about) != 0) return sizes;
  Mapping file(path);
  try {
    Json json = JsonReader(file.data(), file.size()).read();
    if (json["format"].of('0', "a whole number").text != "1") throw Error("another format than this reads");
    for (const Json& each : json["sizes"].of('[', "a list").items)
      sizes.emplace_back(each["library_sha256"].string(), each["weights_sha256"].string());
    if (sizes.size() < 2 || sizes.size() > kMostSizes) throw Error("it lists " + std::to_string(sizes.size()) + " sizes");
  } catch (const Error& error) {
    throw Error(path + ": not the sizes of an artifact: " + error.what() + "; compile the network again");
  }
  return sizes;
}

inline void check_hash(const std::string& path, const Mapping& file, const std::string& stated) {
  if (!stated.empty() && sha256(file.data(), file.size()) != stated)
    throw Error(path + ": does not match its manifest (the SHA-256 differs): changed or cut short; compile the network again");
}

}  // namespace detail
}  // namespace tenfold
