// The hash that a manifest has of the files beside it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>

namespace tenfold {
namespace detail {

// SHA-256 (FIPS 180-4), in hexadecimal.
inline std::string sha256(const void* bytes, size_t size) {
  static const struct Constants {  // the first 32 bits of the fractional parts of the cube and square roots of the first primes
    uint32_t k[64], h[8];
    Constants() {
      for (int n = 2, count = 0; count < 64; ++n) {
        bool prime = true;
        for (int d = 2; d * d <= n; ++d) prime = prime && n % d != 0;
        if (!prime) continue;
        if (count < 8) h[count] = root(n, 2);
        k[count++] = root(n, 3);
      }
    }
    static uint32_t root(int n, int power) {
      __extension__ typedef unsigned __int128 Wide;
      uint64_t r = 0;  // the largest r with r^power <= n * 2^(32 power)
      for (uint64_t bit = uint64_t{1} << 37; bit; bit >>= 1) {
        Wide next = r | bit, value = power == 2 ? next * next : next * next * next;
        if (value <= static_cast<Wide>(n) << (32 * power)) r |= bit;
      }
      return static_cast<uint32_t>(r);
    }
  } constants;
  uint32_t state[8], w[64];
  std::copy_n(constants.h, 8, state);
  auto turned = [](uint32_t x, int by) { return x >> by | x << (32 - by); };
  auto block = [&](const unsigned char* data) {
    for (int i = 0; i < 16; ++i) w[i] = uint32_t{data[4 * i]} << 24 | data[4 * i + 1] << 16 | data[4 * i + 2] << 8 | data[4 * i + 3];
    for (int i = 16; i < 64; ++i) {
      uint32_t x = w[i - 15], y = w[i - 2];
      w[i] = w[i - 16] + w[i - 7] + (turned(x, 7) ^ turned(x, 18) ^ x >> 3) + (turned(y, 17) ^ turned(y, 19) ^ y >> 10);
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0; i < 64; ++i) {
      uint32_t t = h + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + ((e & f) ^ (~e & g)) + constants.k[i] + w[i];
      uint32_t u = (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      h = g, g = f, f = e, e = d + t, d = c, c = b, b = a, a = t + u;
    }
    uint32_t sums[] = {a, b, c, d, e, f, g, h};
    for (int i = 0; i < 8; ++i) state[i] += sums[i];
  };
  const unsigned char* data = static_cast<const unsigned char*>(bytes);
  size_t whole = size / 64 * 64;
  for (size_t i = 0; i < whole; i += 64) block(data + i);
  unsigned char tail[128] = {};
  size_t rest = size - whole, end = rest < 56 ? 64 : 128;
  if (rest) std::memcpy(tail, data + whole, rest);
  tail[rest] = 0x80;
  for (int i = 0; i < 8; ++i) tail[end - 1 - i] = static_cast<unsigned char>(uint64_t{size} * 8 >> 8 * i);
  for (size_t i = 0; i < end; i += 64) block(tail + i);
  char text[65];
  for (int i = 0; i < 8; ++i) std::snprintf(text + 8 * i, 9, "%08x", state[i]);
  return text;
}

}  // namespace detail
}  // namespace tenfold
