// The whole machine as one file to compile.
#include "machine.cc"
#include "memory.cc"
#include "device.cc"
#include "matrix.cc"
#include "counts.cc"
#include "hooks.cc"
#include "launch.cc"
