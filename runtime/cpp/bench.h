// The bench of the device programs (device.cc, server.cc): it loads networks, runs and times them, as lines tell it to. The lines are those
// of runner/devices/child.py, which tells of them. For programs of one file: everything is local to it.
#pragma once

#include <sys/prctl.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tenfold.h"

namespace {

using tenfold::Error;
using tenfold::Port;
using Words = std::vector<std::string>;
using Clock = std::chrono::steady_clock;

// Of timing, as in runner/devices/timing.py.
constexpr double kSeconds = 0.003, kWarmSeconds = 0.02;
constexpr size_t kRuns = 3, kWarmUp = 2;
// Tells runner/devices/counting.c where a run begins. A kernel of Linux knows no such call, and does nothing.
constexpr int kMark = 0x54464e44;
enum Mark { kEnd, kWarm, kCount };
void mark(Mark what) { prctl(kMark, static_cast<long>(what), 0L, 0L, 0L); }
std::atomic<uint64_t> runs_done{0};  // grows while a long measurement goes on

Words split(const std::string& line) {
  Words words(1);
  for (char c : line) {
    if (c == ' ')
      words.emplace_back();
    else
      words.back() += c;
  }
  return words;
}

// A whole number of a line, between 0 and `most`.
int64_t number(const std::string& word, int64_t most) {
  tenfold::detail::Json json;
  json.kind = '0';
  json.text = word;
  if (word.empty()) throw Error("a number is missing");
  return json.whole(0, most);
}

// What the file `program` of a folder says.
struct Program : tenfold::detail::Manifest {
  std::set<std::string> kernels;

  explicit Program(const std::string& folder) {
    std::ifstream file(folder + "/program");
    for (std::string line; std::getline(file, line);) {
      Words words = split(line);
      if (words[0] == "threads" && words.size() == 2) {
        threads = static_cast<int>(number(words[1], tenfold::detail::kMostThreads));
      } else if (words[0] == "kernel" && words.size() == 2) {
        kernels.insert(words[1]);
      } else if ((words[0] == "input" || words[0] == "output") && words.size() >= 2) {
        std::vector<Port>& ports = words[0] == "input" ? inputs : outputs;
        Port port{std::to_string(ports.size()), {}, words[1]};
        for (size_t i = 2; i < words.size(); ++i) port.shape.push_back(number(words[i], tenfold::detail::kMostBytes));
        tenfold::detail::possible(port.shape, tenfold::detail::dtype_of(port.dtype).bits / 8);
        ports.push_back(port);
      } else {
        throw Error("its program has the line '" + line + "'");
      }
    }
    if (outputs.empty()) throw Error("it has no program");
  }
};

// An array at an address that is a multiple of 64.
struct Array {
  std::unique_ptr<char, void (*)(void*)> data;
  explicit Array(const Port& port) : data(nullptr, std::free) {
    data.reset(static_cast<char*>(std::aligned_alloc(64, static_cast<size_t>(port.bytes() + 64) / 64 * 64)));
    if (!data) throw Error("there is no memory for '" + port.name + "'");
  }
};

// Standard normal floats, booleans, all 8-bit numbers, and 0 or 1 for longer ones (they may be indices), as runner/data.py makes them.
void fill(const Port& port, char* data, std::mt19937& random) {
  std::normal_distribution<double> normal;
  size_t size = tenfold::detail::dtype_of(port.dtype).bits / 8;
  for (int64_t i = 0; i < port.elements(); ++i, data += size) {
    uint64_t bits = 0;
    if (port.dtype == "float64") {
      double value = normal(random);
      std::memcpy(&bits, &value, 8);
    } else if (port.dtype == "float32") {
      float value = static_cast<float>(normal(random));
      std::memcpy(&bits, &value, 4);
    } else if (port.dtype == "float16") {
      bits = (random() & 0x83ff) | (13 + random() % 3) << 10;  // between 1/4 and 2, of both signs
    } else {
      bits = random() & (port.dtype == "int8" || port.dtype == "uint8" ? 255 : 1);
    }
    std::memcpy(data, &bits, size);  // little-endian
  }
}

// A network on the device, with arrays for its inputs and outputs.
class Loaded : public tenfold::Network {
 public:
  Loaded(const std::string& folder, const Program& program, bool kernels_alone) : Network(folder, program, program.threads) {
    for (const Port& port : inputs()) arrays_.emplace_back(port);
    for (const Port& port : outputs()) arrays_.emplace_back(port);
    if (kernels_alone) {
      kernels_ = line_;
      kernels_.inputs = 0;  // to look at for numbers that are not finite
      for (size_t i = 0; i < calls_.size(); ++i)
        if (program.kernels.count(weights_.steps[i].kernel)) timed_.push_back(calls_[i]);
      kernels_.calls = static_cast<int64_t>(timed_.size());
      kernels_.call = timed_.data();
      kernels_alone_ = true;
    }
  }

  void run(const std::string& from, const std::string& to) {
    tenfold::detail::Mapping file(from);
    int64_t size = 0, offset = 0;
    for (const Port& port : inputs()) size += port.bytes();
    if (size != static_cast<int64_t>(file.size()))
      throw Error(from + " has " + std::to_string(file.size()) + " bytes, not " + std::to_string(size));
    for (size_t i = 0; i < inputs().size(); offset += inputs()[i++].bytes())
      if (inputs()[i].bytes()) std::memcpy(arrays_[i].data.get(), file.data() + offset, static_cast<size_t>(inputs()[i].bytes()));
    once();
    std::ofstream results(to, std::ios::binary);
    for (size_t i = 0; i < outputs().size(); ++i) results.write(arrays_[inputs().size() + i].data.get(), outputs()[i].bytes());
    if (!results.flush()) throw Error(to + ": can't be written");
  }

  std::vector<double> time(size_t runs) {
    prepare();
    auto run = [&] { kernels_alone_ ? call(kernels_) : once(); };
    auto since = [](Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); };
    Clock::time_point begin = Clock::now();
    for (size_t count = 0; count < kWarmUp || since(begin) < (runs ? kWarmSeconds : 0); ++count) run();
    std::vector<double> times;
    begin = Clock::now();
    while (times.size() < (runs ? runs : kRuns) || (!runs && since(begin) < kSeconds)) {
      Clock::time_point single = Clock::now();
      run();
      times.push_back(since(single) * 1e3);
      ++runs_done;
    }
    return times;
  }

  // One run between marks, behind one that fills the caches.
  void count() {
    prepare();
    for (Mark what : {kWarm, kCount}) {
      mark(what);
      kernels_alone_ ? call(kernels_) : once();
    }
    mark(kEnd);
  }

 private:
  // Random inputs, and one run: the kernels know where the arrays are from then on.
  void prepare() {
    std::mt19937 random(0);
    for (size_t i = 0; i < inputs().size(); ++i) fill(inputs()[i], arrays_[i].data.get(), random);
    once();
  }

  void once() {
    std::vector<const void*> from;
    std::vector<void*> to;
    for (const Array& each : arrays_) from.size() < inputs().size() ? from.push_back(each.data.get()) : to.push_back(each.data.get());
    Network::run(from, to);
  }

  std::vector<Array> arrays_;
  std::vector<tenfold::detail::Call> timed_;
  tenfold::detail::Line kernels_;
  bool kernels_alone_ = false;
};

class Bench {
 public:
  std::string answer(const std::string& line) {
    Words words = split(line);
    std::ostringstream said;
    said.precision(6);
    std::string folder = words.size() > 1 ? words[1] : "";
    try {
      if (words[0] == "features" && words.size() == 1) {
        for (const std::string& flag : tenfold::detail::cpu_flags()) said << ' ' << flag;
      } else if (words[0] == "load" && words.size() == 3) {
        if (words[2] != "kernels" && words[2] != "network") throw Error("what is timed is kernels or network, not '" + words[2] + "'");
        loaded_[folder] = std::make_unique<Loaded>(folder, Program(folder), words[2] == "kernels");
      } else if (words[0] == "run" && words.size() == 4) {
        of(folder).run(words[2], words[3]);
      } else if (words[0] == "time" && words.size() == 3) {
        for (double ms : of(folder).time(static_cast<size_t>(number(words[2], 1000000)))) said << ' ' << ms;
      } else if (words[0] == "count" && words.size() == 2) {
        of(folder).count();
      } else if (words[0] == "drop" && words.size() == 2) {
        of(folder);
        loaded_.erase(folder);
      } else {
        throw Error("'" + line.substr(0, 60) + "' is no question");
      }
    } catch (const std::exception& error) {  // whatever a line leads to, the next one can be taken
      std::string text = error.what();
      if (!folder.empty() && text.rfind(folder + ": ", 0) == 0) text.erase(0, folder.size() + 2);
      if (!folder.empty() && text.rfind(folder + "/", 0) == 0) text.erase(0, folder.size() + 1);
      return (dynamic_cast<const tenfold::NeedsTvm*>(&error) ? "python " : "error ") + text;
    }
    return "ok" + said.str();
  }

 private:
  Loaded& of(const std::string& folder) {
    auto found = loaded_.find(folder);
    if (found == loaded_.end()) throw Error("there is no network '" + folder + "'");
    return *found->second;
  }

  std::map<std::string, std::unique_ptr<Loaded>> loaded_;
};

}  // namespace
