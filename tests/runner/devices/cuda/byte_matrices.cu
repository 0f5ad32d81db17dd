// Products of bytes by one warp. Fragments as in the PTX manual: lane 4 g + t has words of four bytes. The second matrix comes by columns.
// The test writes the first kernel for each pair of types.

extern "C" __global__ void k32_FIRST_SECOND(unsigned* a, unsigned* b, int* c) {  // 16 x 32, 32 x 8, 16 x 8
  const int g = threadIdx.x / 4, t = threadIdx.x % 4;
  int d[4];
  for (int i = 0; i < 4; ++i) d[i] = c[(g + i / 2 * 8) * 8 + 2 * t + i % 2];
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.FIRST.SECOND.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
               : "r"(a[g * 8 + t]), "r"(a[(g + 8) * 8 + t]), "r"(a[g * 8 + t + 4]), "r"(a[(g + 8) * 8 + t + 4]),
                 "r"(b[g * 8 + t]), "r"(b[g * 8 + t + 4]));
  for (int i = 0; i < 4; ++i) c[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = d[i];
}

extern "C" __global__ void k16_s8_u8(unsigned* a, unsigned* b, int* c) {  // 16 x 16, 16 x 8, 16 x 8
  const int g = threadIdx.x / 4, t = threadIdx.x % 4;
  int d[4];
  asm volatile("mma.sync.aligned.m16n8k16.row.col.s32.s8.u8.s32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%7,%8,%9,%10};"
               : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
               : "r"(a[g * 4 + t]), "r"(a[(g + 8) * 4 + t]), "r"(b[g * 4 + t]), "r"(5), "r"(5), "r"(5), "r"(5));
  for (int i = 0; i < 4; ++i) c[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = d[i];
}

extern "C" __global__ void m8_s8_u8(unsigned* a, unsigned* b, int* c) {  // 8 x 16, 16 x 8, 8 x 8
  const int g = threadIdx.x / 4, t = threadIdx.x % 4;
  int d0 = c[g * 8 + 2 * t], d1 = c[g * 8 + 2 * t + 1];
  asm volatile("mma.sync.aligned.m8n8k16.row.col.s32.s8.u8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};"
               : "+r"(d0), "+r"(d1)
               : "r"(a[g * 4 + t]), "r"(b[g * 4 + t]));
  c[g * 8 + 2 * t] = d0, c[g * 8 + 2 * t + 1] = d1;
}
