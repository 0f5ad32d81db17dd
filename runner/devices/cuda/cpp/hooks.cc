// What the compiler calls for each access of a kernel: kernels are compiled with -fsanitize=thread, and these take the sanitizer's place.
#include "machine.h"

#define SITE __builtin_return_address(0)
#define HOOKS(bytes)                                                                                                 \
  void __tsan_read##bytes(const void* address) { check_read(address, bytes, SITE); }                                 \
  void __tsan_write##bytes(void* address) { check_write(address, bytes, SITE); }                                     \
  void __tsan_unaligned_read##bytes(const void* address) { check_read(address, bytes, SITE); }                       \
  void __tsan_unaligned_write##bytes(void* address) { check_write(address, bytes, SITE); }                           \
  void __tsan_volatile_read##bytes(const void* address) { check_read(address, bytes, SITE); }                        \
  void __tsan_volatile_write##bytes(void* address) { check_write(address, bytes, SITE); }                            \
  void __tsan_unaligned_volatile_read##bytes(const void* address) { check_read(address, bytes, SITE); }              \
  void __tsan_unaligned_volatile_write##bytes(void* address) { check_write(address, bytes, SITE); }                  \
  void __tsan_read_write##bytes(void* address) { check_read(address, bytes, SITE), check_write(address, bytes, SITE); } \
  void __tsan_unaligned_read_write##bytes(void* address) { check_read(address, bytes, SITE), check_write(address, bytes, SITE); }

#pragma GCC visibility push(hidden)
extern "C" {
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
void __tsan_read_range(const char* address, size_t bytes) {
  for (size_t i = 0; i < bytes; i += GRANULE) check_read(address + i, GRANULE, SITE);
}
void __tsan_write_range(char* address, size_t bytes) {
  for (size_t i = 0; i < bytes; i += GRANULE) check_write(address + i, GRANULE, SITE);
}
void* __tsan_memcpy(char* to, const char* from, size_t bytes) {
  __tsan_read_range(from, bytes);
  __tsan_write_range(to, bytes);
  return memcpy(to, from, bytes);
}
void* __tsan_memset(char* to, int value, size_t bytes) {
  __tsan_write_range(to, bytes);
  return memset(to, value, bytes);
}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
}
#pragma GCC visibility pop
