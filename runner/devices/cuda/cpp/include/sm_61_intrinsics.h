#pragma once
EMULATOR_INLINE inline int __dp4a(int a, int b, int sum) { return emulator_dot<int8_t, int8_t>(a, b, sum); }
EMULATOR_INLINE inline unsigned __dp4a(unsigned a, unsigned b, unsigned sum) { return emulator_dot<uint8_t, uint8_t>(a, b, sum); }
