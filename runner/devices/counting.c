// A plugin of QEMU's user mode (AArch64, x86-64): what a program executes between two marks, by translated block, and what its loads and
// stores miss in a hierarchy of caches. `counted.py` builds it. No header of QEMU is needed: what it takes of version 1 of the interface (QEMU 5 to
// 8) is declared here.
//
// The program marks by prctl(MARK, 1): caches fill, nothing counts; prctl(MARK, 2): all counts; prctl(MARK, 0): the end, the file is written.
// Arguments: out=FILE, caches=KIB:WAYS+KIB:WAYS... from the first level on, line=BYTES. The file has a line for each block,
// "ADDRESS RUNS CODE..." in hexadecimal but for the runs, and a last one, "misses N N...", of each level. The code of an instruction is its
// bytes as one number, the first byte the lowest.
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
enum { kMark = 0x54464e44, kPrctl = 167, kPrctlX86 = 157, kBuckets = 1 << 16, kLevels = 4, kReadWrite = 3, kMostBytes = 15 };

typedef uint64_t Id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
EXPORT int qemu_plugin_version = 1;
void qemu_plugin_register_vcpu_tb_trans_cb(Id, void (*)(Id, struct qemu_plugin_tb*));
void qemu_plugin_register_vcpu_syscall_cb(Id, void (*)(Id, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                                                       uint64_t));
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb*);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb*);
struct qemu_plugin_insn* qemu_plugin_tb_get_insn(const struct qemu_plugin_tb*, size_t);
const void* qemu_plugin_insn_data(const struct qemu_plugin_insn*);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn*);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb*, int, void*, uint64_t);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn*, void (*)(unsigned, uint32_t, uint64_t, void*), int, int, void*);
unsigned qemu_plugin_mem_size_shift(uint32_t);

typedef struct {
  size_t size;
  unsigned char bytes[kMostBytes];
} Code;

typedef struct Block {
  uint64_t address, runs, before;
  size_t size;
  Code* code;
  struct Block* next;
} Block;

typedef struct {
  uint64_t sets, ways, clock, misses;
  uint64_t *lines, *ages;
} Cache;

static Block* blocks[kBuckets];
static Cache caches[kLevels];
static int levels, line_shift = 6;
static bool simulating;
static int64_t prctl_number = kPrctl;
static const char* path = "counts";

// Whether a level has a line; if not, it takes the place of the one that was longest not used.
static bool hit(Cache* cache, uint64_t line) {
  uint64_t* lines = cache->lines + line % cache->sets * cache->ways;
  uint64_t* ages = cache->ages + line % cache->sets * cache->ways;
  uint64_t oldest = 0;
  ++cache->clock;
  for (uint64_t way = 0; way < cache->ways; ++way) {
    if (lines[way] == line) {
      ages[way] = cache->clock;
      return true;
    }
    if (ages[way] < ages[oldest]) oldest = way;
  }
  lines[oldest] = line;
  ages[oldest] = cache->clock;
  ++cache->misses;
  return false;
}

static void access_memory(unsigned cpu, uint32_t info, uint64_t address, void* data) {
  (void)cpu, (void)data;
  if (!simulating) return;
  uint64_t last = (address + (1u << qemu_plugin_mem_size_shift(info)) - 1) >> line_shift;
  for (uint64_t line = address >> line_shift; line <= last; ++line)
    for (int level = 0; level < levels && !hit(&caches[level], line); ++level) {
    }
}

static Code code_of(const struct qemu_plugin_insn* instruction) {
  Code code = {qemu_plugin_insn_size(instruction), {0}};
  if (code.size > kMostBytes) abort();
  memcpy(code.bytes, qemu_plugin_insn_data(instruction), code.size);
  return code;
}

static bool same(const Block* block, const struct qemu_plugin_tb* tb, uint64_t address, size_t size) {
  if (block->address != address || block->size != size) return false;
  for (size_t i = 0; i < size; ++i) {  // a library may lie where another one was
    Code code = code_of(qemu_plugin_tb_get_insn(tb, i));
    if (memcmp(block->code + i, &code, sizeof code)) return false;
  }
  return true;
}

static void translate(Id id, struct qemu_plugin_tb* tb) {
  (void)id;
  uint64_t address = qemu_plugin_tb_vaddr(tb);
  size_t size = qemu_plugin_tb_n_insns(tb);
  Block** bucket = &blocks[(address >> 2) % kBuckets];
  Block* block = *bucket;
  while (block && !same(block, tb, address, size)) block = block->next;
  if (!block) {
    block = calloc(1, sizeof *block);
    block->code = malloc(size * sizeof *block->code);
    if (!block->code) abort();
    block->address = address, block->size = size, block->next = *bucket, *bucket = block;
    for (size_t i = 0; i < size; ++i) block->code[i] = code_of(qemu_plugin_tb_get_insn(tb, i));
  }
  qemu_plugin_register_vcpu_tb_exec_inline(tb, 0, &block->runs, 1);
  if (levels)
    for (size_t i = 0; i < size; ++i) qemu_plugin_register_vcpu_mem_cb(qemu_plugin_tb_get_insn(tb, i), access_memory, 0, kReadWrite, NULL);
}

static void start(void) {
  for (size_t i = 0; i < kBuckets; ++i)
    for (Block* block = blocks[i]; block; block = block->next) block->before = block->runs;
  for (int level = 0; level < levels; ++level) caches[level].misses = 0;
}

static void finish(void) {
  FILE* file = fopen(path, "w");
  if (!file) return;
  for (size_t i = 0; i < kBuckets; ++i)
    for (Block* block = blocks[i]; block; block = block->next) {
      if (block->runs == block->before) continue;
      fprintf(file, "%" PRIx64 " %" PRIu64, block->address, block->runs - block->before);
      for (size_t k = 0; k < block->size; ++k) {
        fputc(' ', file);
        for (size_t byte = block->code[k].size; byte-- > 0;) fprintf(file, "%02x", block->code[k].bytes[byte]);
      }
      fputc('\n', file);
    }
  fputs("misses", file);
  for (int level = 0; level < levels; ++level) fprintf(file, " %" PRIu64, caches[level].misses);
  fputc('\n', file);
  fclose(file);
}

static void call(Id id, unsigned cpu, int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f, uint64_t g, uint64_t h) {
  (void)id, (void)cpu, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
  if (number != prctl_number || a != kMark) return;
  if (b == 2) start();
  if (b == 0) finish();
  simulating = b != 0;
}

EXPORT int qemu_plugin_install(Id id, const void* info, int count, char** arguments) {
  if (!strcmp(*(const char* const*)info, "x86_64")) prctl_number = kPrctlX86;  // its first field names what is emulated
  const char* sizes = "";
  for (int i = 0; i < count; ++i) {
    if (!strncmp(arguments[i], "out=", 4)) path = strdup(arguments[i] + 4);
    if (!strncmp(arguments[i], "caches=", 7)) sizes = arguments[i] + 7;
    if (!strncmp(arguments[i], "line=", 5)) line_shift = __builtin_ctzl(strtoul(arguments[i] + 5, NULL, 10));
  }
  for (const char* at = sizes; *at && levels < kLevels; ++levels) {
    char* end;
    uint64_t kib = strtoull(at, &end, 10);
    if (*end != ':') return -1;
    uint64_t ways = strtoull(end + 1, &end, 10);
    if (*end && *end != '+') return -1;
    Cache* cache = &caches[levels];
    cache->ways = ways, cache->sets = ways ? (kib << 10 >> line_shift) / ways : 0;
    if (!cache->sets) return -1;
    cache->lines = calloc(cache->sets * ways, 8), cache->ages = calloc(cache->sets * ways, 8);
    if (!cache->lines || !cache->ages) return -1;
    at = *end ? end + 1 : end;
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
  qemu_plugin_register_vcpu_syscall_cb(id, call);
  return 0;
}
