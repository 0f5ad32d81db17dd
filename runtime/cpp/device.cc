// The device program: loads compiled networks, runs and times them, as lines on its standard input tell it to. It speaks the lines of
// runner/devices/child.py, which tells of them, and needs neither Python nor TVM. runner/devices/native.py builds it.

#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <string>

#include "bench.h"

int main() {
  // An answer is one line, and nothing between: what else is printed goes to standard error.
  FILE* answers = fdopen(dup(1), "w");
  if (!answers || dup2(2, 1) < 0) return 2;
  Bench bench;
  for (std::string line; std::getline(std::cin, line);) {
    std::fprintf(answers, "%s\n", bench.answer(line).c_str());
    if (std::fflush(answers) != 0) return 2;
  }
  return 0;
}
