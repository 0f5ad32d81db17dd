// The threads that a compiled network's parallel loops run on. It has the interface of TVM's own pool, and takes its place when the
// network is loaded: starting a loop takes 0.1 us here where TVM's queues take 2.6 us, which small kernels are not worth.
//
// A launch hands one job to threads 1 to n - 1 and takes task 0 itself. The number of the job and n are one word, so that a thread that
// has no part in a job never reads anything else of it: the next one may be written meanwhile. Threads that find no job for a while sleep.

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

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

constexpr uint32_t kMostThreads = 255;  // what the lowest bits of the word hold
constexpr uint32_t kStep = kMostThreads + 1;
constexpr int kSpins = 50000;    // about half a millisecond, then a thread sleeps: longer than what lies between two calls in a loop
constexpr int kPatience = 4000;  // then a waiting thread lets others on its core, which may be the ones that it waits for

struct Pool {
  alignas(64) std::atomic<uint32_t> word{0};  // number of the job, and its threads
  std::atomic<int32_t> sleeping{0};
  alignas(64) std::atomic<int32_t> unfinished{0};
  std::atomic<int32_t> failed{0};
  alignas(64) Task task;
  void* data;
  Group group;
  Meeting meeting;
  alignas(64) std::atomic_flag busy = ATOMIC_FLAG_INIT;
  uint32_t started = 0;  // threads; only touched by the one that is busy
} pool;

thread_local uint32_t wanted = 1;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
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

uint32_t next_job(uint32_t seen) {
  for (int spins = 0; spins < kSpins; ++spins) {
    uint32_t word = pool.word.load(std::memory_order_acquire);
    if (word != seen) return word;
    relax();
  }
  pool.sleeping.fetch_add(1);
  while (pool.word.load() == seen) syscall(SYS_futex, &pool.word, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
  pool.sleeping.fetch_sub(1);
  return pool.word.load();
}


void* work(void* argument) {
  auto thread = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(argument));
  uint32_t seen = pool.word.load();
  pool.unfinished.fetch_sub(1);  // the one that started it waits, so that the next job is one it has not seen
  for (;;) {
    seen = next_job(seen);
    if (thread >= seen % kStep) continue;
    if (pool.task(static_cast<int>(thread), &pool.group, pool.data) != 0) pool.failed.store(1, std::memory_order_relaxed);
    pool.unfinished.fetch_sub(1, std::memory_order_release);
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
  bool started = pthread_create(&handle, nullptr, work, reinterpret_cast<void*>(static_cast<uintptr_t>(pool.started + 1))) == 0;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (!started) return false;
  pthread_detach(handle);
  finish();
  ++pool.started;
  return true;
}

// Threads for `tasks` tasks, the caller among them; fewer where the system gives no more.
uint32_t at_most(uint32_t tasks) {
  while (pool.started + 1 < tasks && start_thread()) {
  }
  return tasks < pool.started + 1 ? tasks : pool.started + 1;
}

// A process that forks leaves its threads behind: the child starts its own.
void forget_threads() {
  pool.started = 0;
  pool.sleeping.store(0);
  pool.busy.clear();
}

int alone(Task task, void* data) {
  Group group{nullptr, 1};
  return task(0, &group, data);
}

}  // namespace

extern "C" {

// Threads of the loops that the calling thread starts from now on.
void tenfold_use_threads(int threads) { wanted = threads < 1 ? 1 : static_cast<uint32_t>(threads) > kMostThreads ? kMostThreads : threads; }

// As TVMBackendParallelLaunch. A second caller, while the threads are busy for the first, runs its loop by itself.
int tenfold_parallel_launch(Task task, void* data, int tasks) {
  uint32_t threads = tasks > 0 && static_cast<uint32_t>(tasks) < wanted ? tasks : wanted;
  if (threads == 1 || pool.busy.test_and_set(std::memory_order_acquire)) return alone(task, data);
  static int once = pthread_atfork(nullptr, nullptr, forget_threads);
  (void)once;
  threads = at_most(threads);
  pool.task = task;
  pool.data = data;
  pool.group = Group{&pool.meeting, static_cast<int32_t>(threads)};
  pool.failed.store(0, std::memory_order_relaxed);
  pool.unfinished.store(static_cast<int32_t>(threads) - 1, std::memory_order_relaxed);
  uint32_t number = pool.word.load(std::memory_order_relaxed) / kStep + 1;
  pool.word.store(number * kStep + threads);  // in one order with the count of those who sleep
  if (pool.sleeping.load() > 0) syscall(SYS_futex, &pool.word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
  int result = task(0, &pool.group, data);
  finish();
  if (pool.failed.load(std::memory_order_relaxed)) result = -1;
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
