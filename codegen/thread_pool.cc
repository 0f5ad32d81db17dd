// The threads that a compiled network's parallel loops run on. It has the interface of TVM's own pool, and takes its place when the
// network is loaded: starting a loop takes 0.1 us here where TVM's queues take 2.6 us, which small kernels are not worth.
//
// A launch gives a job of n tasks to threads 1 to n - 1 and itself. Each takes the task of its own number, so that a core goes on with
// what it has in its cache; then the launching thread takes what nobody has begun: where a thread comes late, from sleep or because another
// program has its core, its task does not wait for it. The number of the job and n are one word, and a task is taken by writing that word to its seat,
// which only ever grows: a late thread can't take a task of a later job for one of its own, and reads nothing of a job but by taking part.
// Tasks that meet at a barrier do not end before all have begun, so that none of them is taken by a thread that has one already.

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <cstdint>

namespace {

struct Meeting {  // of all tasks of a job, at a barrier
  std::atomic<int32_t> arrived{0};
  std::atomic<int32_t> held{0};
};

struct Group {  // TVMParallelGroupEnv
  Meeting* meeting;
  int32_t tasks;
};

using Task = int (*)(int task, Group* group, void* data);  // FTVMParallelLambda

constexpr uint64_t kMostThreads = 255;  // what the lowest bits of the word hold
constexpr uint64_t kStep = kMostThreads + 1;
constexpr int kSpins = 50000;    // about half a millisecond, then a thread sleeps: longer than what lies between two calls in a loop
constexpr int kCourtesy = 100;   // about a microsecond, before the launching thread looks for tasks that nobody has begun
constexpr int kPatience = 4000;  // then a waiting thread lets others on its core, which may be the ones that it waits for

struct alignas(64) Seat {
  std::atomic<uint64_t> taken{0};  // the word of the last job whose task was taken
};

struct Pool {
  // A line of the cache for what a thread reads when it begins, written by the launching one alone.
  alignas(64) std::atomic<uint64_t> word{0};  // number of the job, and its tasks; sleeping threads watch the lower half
  Task task;
  void* data;
  Group group;
  alignas(64) std::atomic<int32_t> unfinished{0};
  std::atomic<int32_t> failed{0};
  alignas(64) std::atomic<int32_t> sleeping{0};
  std::atomic_flag busy = ATOMIC_FLAG_INIT;
  uintptr_t started = 0;  // threads; only touched by the one that is busy
  alignas(64) Meeting meeting;
  Seat seats[kMostThreads];
} pool;

thread_local uint64_t wanted = 1;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb");  // "yield" does nothing on large cores
#endif
}

template <typename Done>
void wait_for(Done done) {
  for (int spins = 0; !done(); ++spins) {
    if (spins < kPatience) {
      relax();
    } else {
      sched_yield();
    }
  }
}

// The lower half of the word is the first: of little-endian machines.
void futex(int operation, uint32_t value) { syscall(SYS_futex, &pool.word, operation, value, nullptr, nullptr, 0); }

uint64_t next_job(uint64_t seen) {
  for (int spins = 0; spins < kSpins; ++spins) {
    uint64_t word = pool.word.load(std::memory_order_acquire);
    if (word != seen) return word;
    relax();
  }
  pool.sleeping.fetch_add(1);
  while (pool.word.load() == seen) futex(FUTEX_WAIT_PRIVATE, static_cast<uint32_t>(seen));
  pool.sleeping.fetch_sub(1);
  return pool.word.load();
}


bool take(uint64_t task, uint64_t word) {
  std::atomic<uint64_t>& taken = pool.seats[task].taken;
  uint64_t last = taken.load(std::memory_order_relaxed);
  return last < word && taken.compare_exchange_strong(last, word, std::memory_order_acq_rel);
}

void take_part(uint64_t task, uint64_t word) {
  if (!take(task, word)) return;
  if (pool.task(static_cast<int>(task), &pool.group, pool.data) != 0) pool.failed.store(1, std::memory_order_relaxed);
  pool.unfinished.fetch_sub(1, std::memory_order_release);
}

void* work(void* argument) {
  uint64_t thread = reinterpret_cast<uintptr_t>(argument), seen = pool.word.load();
  pool.unfinished.fetch_sub(1);  // the one that started it waits, so that the next job is one it has not seen
  for (;;) {
    seen = next_job(seen);
    if (thread < seen % kStep) take_part(thread, seen);
  }
  return nullptr;
}

void finish() {
  wait_for([] { return pool.unfinished.load(std::memory_order_acquire) == 0; });
}

bool start_thread() {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);  // signals are for the program's own threads
  pthread_t handle;
  pool.unfinished.store(1);
  bool started = pthread_create(&handle, nullptr, work, reinterpret_cast<void*>(pool.started + 1)) == 0;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (!started) return false;
  pthread_detach(handle);
  finish();
  ++pool.started;
  return true;
}

// Threads for `tasks` tasks, the caller among them; fewer where the system gives no more.
uint64_t at_most(uint64_t tasks) {
  while (pool.started + 1 < tasks && start_thread()) {
  }
  return std::min<uint64_t>(tasks, pool.started + 1);
}

// A process that forks leaves its threads behind: the child starts its own. A launch that another thread was in is not the child's, though some
// of its tasks may have come to a barrier.
void forget_threads() {
  pool.started = 0;
  pool.sleeping.store(0);
  pool.meeting.arrived.store(0);
  pool.busy.clear();
}

[[maybe_unused]] const int kForks = pthread_atfork(nullptr, nullptr, forget_threads);  // before there is a thread to forget

int alone(Task task, void* data) {
  Group group{nullptr, 1};
  return task(0, &group, data);
}

}  // namespace

extern "C" {

// Threads of the loops that the calling thread starts from now on.
void tenfold_use_threads(int threads) { wanted = std::clamp<int64_t>(threads, 1, kMostThreads); }

// As TVMBackendParallelLaunch. A second caller, while the threads are busy for the first, runs its loop by itself.
int tenfold_parallel_launch(Task task, void* data, int tasks) {
  uint64_t threads = tasks > 0 ? std::min<uint64_t>(tasks, wanted) : wanted;
  if (threads == 1 || pool.busy.test_and_set(std::memory_order_acquire)) return alone(task, data);
  threads = at_most(threads);
  pool.task = task;
  pool.data = data;
  pool.group = Group{&pool.meeting, static_cast<int32_t>(threads)};
  pool.failed.store(0, std::memory_order_relaxed);
  pool.unfinished.store(static_cast<int32_t>(threads), std::memory_order_relaxed);
  uint64_t word = (pool.word.load(std::memory_order_relaxed) / kStep + 1) * kStep + threads;
  pool.word.store(word);  // in one order with the count of those who sleep
  if (pool.sleeping.load() > 0) futex(FUTEX_WAKE_PRIVATE, INT_MAX);
  take_part(0, word);
  for (int spins = 0; spins < kCourtesy && pool.unfinished.load(std::memory_order_acquire) != 0; ++spins) relax();
  for (uint64_t other = 1; other < threads && pool.unfinished.load(std::memory_order_acquire) != 0; ++other) take_part(other, word);
  finish();
  int result = pool.failed.load(std::memory_order_relaxed) ? -1 : 0;
  pool.busy.clear(std::memory_order_release);
  return result;
}

// As TVMBackendParallelBarrier: returns when all tasks of the loop have come.
int tenfold_parallel_barrier(int, Group* group) {
  if (group->tasks == 1) return 0;
  Meeting& meeting = *group->meeting;
  int32_t number = meeting.held.load(std::memory_order_relaxed);
  if (meeting.arrived.fetch_add(1, std::memory_order_acq_rel) == group->tasks - 1) {
    meeting.arrived.store(0, std::memory_order_relaxed);
    meeting.held.store(number + 1, std::memory_order_release);
  } else {
    wait_for([&] { return meeting.held.load(std::memory_order_acquire) != number; });
  }
  return 0;
}

}  // extern "C"
