// What a kernel calls in the emulated machine. Kernels see this file, the machine implements it.
#pragma once
#include <cstddef>
#include <cstdint>

#pragma GCC visibility push(hidden)
enum EmulatorShuffle { SHUFFLE_TO, SHUFFLE_UP, SHUFFLE_DOWN, SHUFFLE_XOR };
enum EmulatorVote { VOTE_ANY, VOTE_ALL, VOTE_BALLOT };

extern "C" {
uint64_t emulator_index(int which, int axis) __attribute__((const));  // 0: threadIdx, 1: blockIdx, 2: blockDim, 3: gridDim
void emulator_barrier(int line);
void emulator_warp_barrier(uint32_t mask, int line);
char* emulator_shared(int64_t number, size_t bytes, size_t element, const char* name);
char* emulator_dynamic_shared(const char* name, size_t element);
char* emulator_enter(size_t bytes, size_t element, const char* name, bool written);  // an array of registers
void emulator_leave();
uint64_t emulator_shuffle(EmulatorShuffle how, uint32_t mask, uint64_t value, int lane, int width, int line);
uint32_t emulator_active(int line);
uint32_t emulator_vote(EmulatorVote how, uint32_t mask, int predicate, int line);
void emulator_atomic(void* address, int bytes);  // checks
uint32_t emulator_shared_address(const void* pointer);
char* emulator_shared_pointer(uint64_t address);
void emulator_copy(void* to, const void* from, int bytes, int filled);
void emulator_commit();
void emulator_wait(int groups);
// c += a b in 32 lanes: 16 rows, 8 columns, each lane with its fragments as the PTX manual has them.
void emulator_mma_tf32(float* c, const uint32_t* a, const uint32_t* b, int depth, int line);
void emulator_mma_f16(float* c, const uint32_t* a, const uint32_t* b, int depth, int line);
// The same of bytes, with 8 or 16 rows. `signs`: bit 0 where those of `a` are signed, bit 1 where those of `b` are.
void emulator_mma_bytes(int* c, const uint32_t* a, const uint32_t* b, int rows, int depth, int signs, int line);
// Each lane has the lane-th part of the elements, row by row.
void emulator_wmma(float* c, const float* a, const float* b, int rows, int columns, int depth, int line);
void emulator_ldmatrix(uint32_t* to, int matrices, int transposed, const void* row, int line);
}
#pragma GCC visibility pop
