// Warp-wide matrix instructions. The last lane that comes computes for all.
#include "device.h"
#include "half.h"
#include "machine.h"

namespace {

constexpr uint32_t ALL = 0xffffffff;

struct Fragments {  // of one lane, in Thread::in and, of the result, in Thread::out
  float c[4];
  uint32_t a[4], b[2];
  int depth;
};
static_assert(sizeof(Fragments) <= sizeof(Thread::in), "room");

struct Matrices {
  float a[16][16], b[16][8], c[16][8];

  void multiply(int depth) {
    for (int i = 0; i < 16; ++i)
      for (int k = 0; k < depth; ++k)
        for (int j = 0; j < 8; ++j) c[i][j] += a[i][k] * b[k][j];
  }
};

float truncated(uint32_t bits) {  // the hardware ignores the lowest 13 bits of a TF32 operand
  bits &= 0xffffe000;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

// Fragments are numbered as in the PTX manual: lane 4 g + t has elements of row g and columns around t.
template <bool HALF>
void multiply(Thread* lanes, uint32_t) {
  Matrices m;
  const auto of = [&](int lane) { return reinterpret_cast<Fragments*>(lanes[lane].in); };
  const int depth = of(0)->depth;
  for (int lane = 0; lane < WARP; ++lane) {
    const Fragments& f = *of(lane);
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) m.c[g + i / 2 * 8][2 * t + i % 2] = f.c[i];
    if (HALF) {
      for (int i = 0; i < depth / 4; ++i)
        for (int e = 0; e < 2; ++e) m.a[g + i % 2 * 8][2 * t + i / 2 * 8 + e] = emulator_from_half(f.a[i] >> 16 * e);
      for (int i = 0; i < depth / 8; ++i)
        for (int e = 0; e < 2; ++e) m.b[2 * t + i * 8 + e][g] = emulator_from_half(f.b[i] >> 16 * e);
    } else {
      for (int i = 0; i < depth / 2; ++i) m.a[g + i % 2 * 8][t + i / 2 * 4] = truncated(f.a[i]);
      for (int i = 0; i < depth / 4; ++i) m.b[t + i * 4][g] = truncated(f.b[i]);
    }
  }
  m.multiply(depth);
  for (int lane = 0; lane < WARP; ++lane) {
    auto* sums = reinterpret_cast<float*>(lanes[lane].out);
    for (int i = 0; i < 4; ++i) sums[i] = m.c[lane / 4 + i / 2 * 8][2 * (lane % 4) + i % 2];
  }
}

template <bool HALF>
void run(float* c, const uint32_t* a, const uint32_t* b, int depth, int line) {
  Worker& w = this_worker();
  Thread& me = *w.current;
  if (me.number / WARP * WARP + WARP > w.launch->threads) w.fail(&me, nullptr, line, "multiplies matrices in a warp that is not full");
  auto& f = *reinterpret_cast<Fragments*>(me.in);
  const int step = HALF ? 4 : 2;
  memcpy(f.c, c, sizeof f.c);
  memcpy(f.a, a, depth / step * 4);
  memcpy(f.b, b, depth / step * 2);
  f.depth = depth;
  together(ALL, line, multiply<HALF>);
  memcpy(c, me.out, sizeof f.c);
}

struct ByteFragments {  // of one lane
  int c[4];
  uint32_t a[4], b[2];
  int rows, depth, signs;  // bit 0: `a` is signed, bit 1: `b` is
};
static_assert(sizeof(ByteFragments) <= sizeof(Thread::in), "room");

int byte_of(uint32_t word, int i, bool is_signed) { return is_signed ? int(int8_t(word >> 8 * i)) : int(uint8_t(word >> 8 * i)); }

// Sums wrap, as without `.satfinite`.
void multiply_bytes(Thread* lanes, uint32_t) {
  int a[16][32], b[32][8];
  uint32_t c[16][8];
  const auto of = [&](int lane) { return reinterpret_cast<ByteFragments*>(lanes[lane].in); };
  const int rows = of(0)->rows, depth = of(0)->depth, half = rows / 8;
  const bool signed_a = of(0)->signs & 1, signed_b = of(0)->signs & 2;
  for (int lane = 0; lane < WARP; ++lane) {
    const ByteFragments& f = *of(lane);
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 2 * half; ++i) c[g + i / 2 * 8][2 * t + i % 2] = f.c[i];
    for (int i = 0; i < half * depth / 16; ++i)
      for (int e = 0; e < 4; ++e) a[g + i % half * 8][4 * t + i / half * 16 + e] = byte_of(f.a[i], e, signed_a);
    for (int i = 0; i < depth / 16; ++i)
      for (int e = 0; e < 4; ++e) b[4 * t + i * 16 + e][g] = byte_of(f.b[i], e, signed_b);
  }
  for (int i = 0; i < rows; ++i)
    for (int k = 0; k < depth; ++k)
      for (int j = 0; j < 8; ++j) c[i][j] += uint32_t(a[i][k] * b[k][j]);
  for (int lane = 0; lane < WARP; ++lane) {
    auto* sums = reinterpret_cast<uint32_t*>(lanes[lane].out);
    for (int i = 0; i < 2 * half; ++i) sums[i] = c[lane / 4 + i / 2 * 8][2 * (lane % 4) + i % 2];
  }
}

void gather(float* to, Thread* lanes, int operand, int elements) {
  for (int lane = 0; lane < WARP; ++lane)
    memcpy(to + lane * (elements / WARP), reinterpret_cast<const void*>(lanes[lane].in[operand]), elements / WARP * sizeof(float));
}

void multiply_whole(Thread* lanes, uint32_t) {
  const int rows = lanes[0].in[3], columns = lanes[0].in[4], depth = lanes[0].in[5];
  float c[32 * 32], a[32 * 32], b[32 * 32];
  gather(c, lanes, 0, rows * columns);
  gather(a, lanes, 1, rows * depth);
  gather(b, lanes, 2, depth * columns);
  for (int i = 0; i < rows; ++i)
    for (int k = 0; k < depth; ++k)
      for (int j = 0; j < columns; ++j) c[i * columns + j] += a[i * depth + k] * b[k * columns + j];
  for (int lane = 0; lane < WARP; ++lane)
    memcpy(reinterpret_cast<void*>(lanes[lane].in[0]), c + lane * (rows * columns / WARP), rows * columns / WARP * sizeof(float));
}

template <bool TRANSPOSED>
void load(Thread* lanes, uint32_t) {
  const int matrices = lanes[0].in[1];
  for (int lane = 0; lane < WARP; ++lane) {
    auto* to = reinterpret_cast<uint16_t*>(lanes[lane].out);
    for (int m = 0; m < matrices; ++m)
      for (int e = 0; e < 2; ++e) {
        const int row = TRANSPOSED ? lane % 4 * 2 + e : lane / 4, column = TRANSPOSED ? lane / 4 : lane % 4 * 2 + e;
        to[2 * m + e] = reinterpret_cast<const uint16_t*>(lanes[8 * m + row].in[0])[column];
      }
  }
}

}  // namespace

void emulator_mma_tf32(float* c, const uint32_t* a, const uint32_t* b, int depth, int line) { run<false>(c, a, b, depth, line); }
void emulator_mma_f16(float* c, const uint32_t* a, const uint32_t* b, int depth, int line) { run<true>(c, a, b, depth, line); }

void emulator_mma_bytes(int* c, const uint32_t* a, const uint32_t* b, int rows, int depth, int signs, int line) {
  Worker& w = this_worker();
  Thread& me = *w.current;
  if (me.number / WARP * WARP + WARP > w.launch->threads) w.fail(&me, nullptr, line, "multiplies matrices in a warp that is not full");
  auto& f = *reinterpret_cast<ByteFragments*>(me.in);
  memcpy(f.c, c, rows / 8 * 8);
  memcpy(f.a, a, rows / 8 * depth / 16 * 4);
  memcpy(f.b, b, depth / 16 * 4);
  f.rows = rows, f.depth = depth, f.signs = signs;
  together(ALL, line, multiply_bytes);
  memcpy(c, me.out, rows / 8 * 8);
}

void emulator_wmma(float* c, const float* a, const float* b, int rows, int columns, int depth, int line) {
  Worker& w = this_worker();
  Thread& me = *w.current;
  if (me.number / WARP * WARP + WARP > w.launch->threads) w.fail(&me, nullptr, line, "multiplies matrices in a warp that is not full");
  const uint64_t passed[] = {uint64_t(c), uint64_t(a), uint64_t(b), uint64_t(rows), uint64_t(columns), uint64_t(depth)};
  memcpy(me.in, passed, sizeof passed);
  together(ALL, line, multiply_whole);
}

void emulator_ldmatrix(uint32_t* to, int matrices, int transposed, const void* row, int line) {
  Worker& w = this_worker();
  Thread& me = *w.current;
  if (me.number / WARP * WARP + WARP > w.launch->threads) w.fail(&me, nullptr, line, "loads matrices in a warp that is not full");
  if (me.number % WARP < 8 * matrices) check_read(row, 16, __builtin_return_address(0));
  me.in[0] = reinterpret_cast<uint64_t>(row);
  me.in[1] = matrices;
  together(ALL, line, transposed ? load<true> : load<false>);
  memcpy(to, me.out, 4 * matrices);
}
