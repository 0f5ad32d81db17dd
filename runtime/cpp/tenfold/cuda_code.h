// model.cuda: machine code for GPUs, and how kernels are launched. runtime/cuda/code_file.py reads the same.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "json.h"
#include "mapping.h"

namespace tenfold {
namespace detail {

struct CudaLaunch {
  std::string kernel;
  unsigned grid[3], block[3], shared_bytes;
  std::vector<size_t> arguments;  // positions among the operands of the function and, behind them, its buffers
};

struct CudaRoutine {
  std::vector<CudaLaunch> launches;
  std::vector<int64_t> scratch;  // bytes of its buffers
};

inline std::string base64(const std::string& text) {
  std::string bytes;
  uint32_t bits = 0, count = 0, padding = 0;
  if (text.size() % 4) throw Error("its machine code is cut short");
  for (char c : text) {
    int value = c >= 'A' && c <= 'Z'   ? c - 'A'
                : c >= 'a' && c <= 'z' ? c - 'a' + 26
                : c >= '0' && c <= '9' ? c - '0' + 52
                : c == '+'             ? 62
                : c == '/'             ? 63
                                       : -1;
    if (c == '=' && ++padding <= 2) value = 0;
    else if (value < 0 || padding) throw Error("its machine code is damaged");
    bits = bits << 6 | static_cast<uint32_t>(value);
    if (++count % 4 == 0)
      for (int shift : {16, 8, 0}) bytes += static_cast<char>(bits >> shift & 0xff);
  }
  bytes.resize(bytes.size() - padding);
  return bytes;
}

struct CudaCode {
  std::string fatbin;
  std::map<std::string, CudaRoutine> routines;

  explicit CudaCode(const std::string& path) {
    Mapping file(path);
    try {
      Json json = JsonReader(file.data(), file.size()).read();
      if (json["format"].of('0', "a whole number").text != "1") throw Error("its format is another one");
      fatbin = base64(json["fatbin"].string());
      if (fatbin.empty()) throw Error("it holds no machine code");
      const Json& all = json["routines"].of('{', "an object");
      for (size_t i = 0; i < all.keys.size(); ++i) routines[all.keys[i]] = routine(all.items[i]);
    } catch (const Error& error) {
      throw Error(path + ": no code for GPUs that this reads: " + error.what() + ": compile the network again");
    }
  }

 private:
  static CudaRoutine routine(const Json& json) {
    CudaRoutine found;
    for (const Json& each : json["scratch"].of('[', "a list").items) found.scratch.push_back(each.whole(0, kMostBytes));
    for (const Json& each : json["launches"].of('[', "a list").items) {
      CudaLaunch launch{each["kernel"].string(), {}, {}, static_cast<unsigned>(each["shared_bytes"].whole(0, INT32_MAX)), {}};
      extents(each["grid"], launch.grid);
      extents(each["block"], launch.block);
      for (const Json& position : each["arguments"].of('[', "a list").items)
        launch.arguments.push_back(static_cast<size_t>(position.whole(0, 1 << 20)));
      found.launches.push_back(launch);
    }
    return found;
  }

  static void extents(const Json& json, unsigned* to) {
    const std::vector<Json>& items = json.of('[', "a list").items;
    if (items.size() != 3) throw Error("a grid or a block has other than three sizes");
    for (size_t i = 0; i < 3; ++i) to[i] = static_cast<unsigned>(items[i].whole(1, INT32_MAX));
  }
};

}  // namespace detail
}  // namespace tenfold
