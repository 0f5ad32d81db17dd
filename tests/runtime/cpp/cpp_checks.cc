// What the tests beside it ask of tenfold.h, one answer a line: "ok ..." or "error ..." for what is refused by an Error.
//
//     run FOLDER THREADS INPUTS OUTPUTS    raw arrays, one behind the other
//     twice FOLDER INPUTS                  whether two threads that call one network get the same
//     sha FILE
//
//     sizes FOLDER BATCH INPUTS OUTPUTS    of the size with this batch; then the shapes of the inputs of all
// Networks stay loaded until the end. Any other exception ends the program, as a crash does.

#include <cstring>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "tenfold.h"

namespace {

using Arrays = std::vector<std::vector<char>>;

Arrays run(tenfold::Network& net, const std::string& from) {
  std::ifstream file(from, std::ios::binary);
  Arrays inputs, outputs;
  std::vector<const void*> read;
  std::vector<void*> written;
  for (const tenfold::Port& port : net.inputs()) {
    inputs.emplace_back(static_cast<size_t>(port.bytes()));
    file.read(inputs.back().data(), port.bytes());
  }
  for (const tenfold::Port& port : net.outputs()) outputs.emplace_back(static_cast<size_t>(port.bytes()));
  for (auto& each : inputs) read.push_back(each.data());
  for (auto& each : outputs) written.push_back(each.data());
  net.run(read, written);
  return outputs;
}

std::string answer(const std::string& line, std::vector<std::unique_ptr<tenfold::Network>>& nets) {
  std::istringstream words(line);
  std::string what, folder, from, to;
  int threads = 0;
  words >> what >> folder;
  if (what == "sha") {
    tenfold::detail::Mapping file(folder);
    return "ok " + tenfold::detail::sha256(file.data(), file.size());
  }
  if (what == "sizes") {
    int64_t batch = 0;
    words >> batch >> from >> to;
    tenfold::Sizes sizes(folder);
    tenfold::Network& net = sizes.batch(batch);
    if (&net != &sizes.at({net.inputs()[0].shape})) return "another size";
    std::ofstream file(to, std::ios::binary);
    for (const auto& each : run(net, from)) file.write(each.data(), static_cast<std::streamsize>(each.size()));
    std::string shown = "ok";
    for (size_t i = 0; i < sizes.size(); ++i) shown += " " + std::to_string(sizes[i].inputs()[0].shape[0]);
    return shown;
  }
  if (what == "run") words >> threads;
  words >> from >> to;
  nets.push_back(std::make_unique<tenfold::Network>(folder, threads));
  tenfold::Network& net = *nets.back();
  if (what == "twice") {
    Arrays first = run(net, from), second[2];
    std::thread other([&] { for (int i = 0; i < 50; ++i) second[0] = run(net, from); });
    for (int i = 0; i < 50; ++i) second[1] = run(net, from);
    other.join();
    return second[0] == first && second[1] == first ? "ok" : "they differ";
  }
  std::ofstream file(to, std::ios::binary);
  for (const auto& each : run(net, from)) file.write(each.data(), static_cast<std::streamsize>(each.size()));
  return "ok " + std::to_string(net.threads());
}

}  // namespace

int main() {
  std::vector<std::unique_ptr<tenfold::Network>> nets;
  for (std::string line; std::getline(std::cin, line);) {
    try {
      std::cout << answer(line, nets) << std::endl;
    } catch (const tenfold::Error& error) {
      std::cout << "error " << error.what() << std::endl;
    }
  }
  return 0;
}
