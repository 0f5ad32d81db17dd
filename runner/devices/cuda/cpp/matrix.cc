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
  Worker& w = *worker;
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

void emulator_ldmatrix(uint32_t* to, int matrices, int transposed, const void* row, int line) {
  Worker& w = *worker;
  Thread& me = *w.current;
  if (me.number / WARP * WARP + WARP > w.launch->threads) w.fail(&me, nullptr, line, "loads matrices in a warp that is not full");
  if (me.number % WARP < 8 * matrices) check_read(row, 16, __builtin_return_address(0));
  me.in[0] = reinterpret_cast<uint64_t>(row);
  me.in[1] = matrices;
  together(ALL, line, transposed ? load<true> : load<false>);
  memcpy(to, me.out, 4 * matrices);
}
