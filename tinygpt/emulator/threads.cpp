// Threads: a fiber each, which runs until it must wait; the block's barrier; blocks that cannot go on.
#include "runtime.h"
#include <algorithm>
#include <cstring>
#include <sys/mman.h>
#include <ucontext.h>

Thread threads[MAX_THREADS];
Thread* me;
int n_threads, n_warps;
unsigned warp_alive[LANES], warp_arrived[LANES];
uint16_t warp_epoch[LANES];
uint32_t epoch = 2, launch_first, block_first;
char* stacks;
alignas(1024) char emu_dynamic[DYNAMIC_SIZE];

namespace {

int alive, arrived;
int votes, votes_counted;  // at the barrier that is being waited at, and at the last one
jmp_buf scheduler;
ucontext_t first_context;

void release_barrier() {
  Thread* first = std::find_if(threads, threads + n_threads, [](Thread& t) { return t.state == AT_BARRIER; });
  for (int i = 0; i < n_threads; i++) {
    Thread& t = threads[i];
    me = first;
    if (t.state == LEFT)
      fail(first->pc, "diverging barrier: " + thread_name(i) + " has left the kernel and never comes here");
    if (t.line != first->line)
      fail(first->pc, "diverging barrier: " + thread_name(i) + " waits at another one, " + source_line(t.pc - base));
  }
  if (profiling) count_accesses();
  for (int i = 0; i < n_threads; i++) {
    if (threads[i].state == AT_BARRIER) threads[i].state = READY;
  }
  votes_counted = votes;
  votes = 0;
  arrived = 0;
  epoch++;
}

void leave() {
  Thread* self = me;
  if (copies_in_flight()) fail(me->pc, "leaves the kernel with a cp.async that is not waited for");
  me->state = LEFT;
  alive--;
  int warp = me->warp;
  warp_alive[warp] &= ~(1u << me->lane);
  for (int lane = 0; lane < LANES; lane++) {  // others may have waited for this one
    Thread& t = threads[warp * LANES + lane];
    if (warp_alive[warp] >> lane & 1 && t.state == IN_WARP) meet(warp, t.mask);
  }
  if (alive && arrived == alive) release_barrier();
  me = self;
  switch_to_scheduler();
}

// After its thread has left, the fiber is used for the next block's.
void fiber() {
  for (;;) {
    enter_kernel(kernel_arguments);
    leave();
  }
}

__attribute__((noinline)) void resume(Thread& t) {
  me = &t;
  if (_setjmp(scheduler)) return;
  if (t.started) _longjmp(t.context, 1);  // far cheaper than swapcontext, which asks the system for its signals
  t.started = true;
  getcontext(&first_context);
  first_context.uc_stack.ss_sp = stacks + t.id * STACK;
  first_context.uc_stack.ss_size = STACK;
  makecontext(&first_context, fiber, 0);
  setcontext(&first_context);
}

[[noreturn]] void stuck() {
  std::string waiting;
  uintptr_t pc = 0;
  bool told[4] = {};
  for (int i = 0; i < n_threads; i++) {
    Thread& t = threads[i];
    if (t.state == LEFT || told[t.state]) continue;
    told[t.state] = true;
    pc = t.pc;
    unsigned missing = t.mask & warp_alive[t.warp] & ~warp_arrived[t.warp];
    waiting += waiting.empty() ? "" : "; ";
    waiting += thread_name(i) + " waits for ";
    waiting += (t.state == AT_BARRIER ? "the block" : format("lanes %#x", missing)) + " at " + source_line(t.pc - base);
  }
  me = nullptr;
  fail(pc, "nobody can go on: " + waiting);
}

void run_warp(int warp, int first_lane, bool& progress) {
  for (bool again = true; again;) {
    again = false;
    for (int k = 0; k < LANES; k++) {
      int i = warp * LANES + (first_lane + k) % LANES;
      if (i >= n_threads || threads[i].state != READY) continue;
      resume(threads[i]);
      again = progress = true;
    }
  }
}

}  // namespace

// splitmix64: the order of blocks and warps follows from the seed alone, with every compiler
uint64_t next_random(uint64_t& state) {
  uint64_t z = state += 0x9E3779B97F4A7C15u;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}

void begin_threads() {
  if (stacks) return;
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  stacks = (char*)mmap(nullptr, STACKS, PROT_READ | PROT_WRITE, flags, -1, 0);
}

void forget_fibers() {
  for (Thread& t : threads) t.started = false;
}

void switch_to_scheduler() {
  if (!_setjmp(me->context)) _longjmp(scheduler, 1);
}

void run_block(unsigned index, uint64_t& random) {
  block_index = unflatten(index, grid_shape);
  block_first = ++epoch;
  blocks.push_back({epoch, index, false, {}});
  for (Window& window : windows) {  // poison: not a number in every type
    if (window.owner != ARGUMENT) memset((void*)window.start, 0xff, window.size);
  }
  alive = n_threads;
  arrived = votes = 0;
  memset(warp_epoch, 0, sizeof warp_epoch);
  int order[LANES];
  for (int w = 0; w < n_warps; w++) {
    int lanes = std::min(LANES, n_threads - w * LANES);
    warp_alive[w] = lanes == LANES ? ~0u : (1u << lanes) - 1;
    warp_arrived[w] = 0;
    order[w] = w;
  }
  for (int i = 0; i < n_threads; i++) {
    Thread& t = threads[i];
    t.state = READY;
    t.id = i;
    t.index = unflatten(i, block_shape);
    t.warp = i / LANES;
    t.lane = i % LANES;
    t.line = 0;
    t.open.clear();
    t.groups.clear();
    t.log.clear();
  }
  while (alive) {
    bool progress = false;
    for (int w = n_warps - 1; w > 0; w--) std::swap(order[w], order[next_random(random) % (w + 1)]);
    for (int w = 0; w < n_warps; w++) run_warp(order[w], next_random(random) % LANES, progress);
    if (!progress) stuck();
    if (late) fail_late(threads[order[0] * LANES].pc);
  }
  if (profiling) count_accesses();
}

// ---- called by kernels ----

EMU_RUNTIME uint3 emu_index(int which) {
  if (which == 0) return me->index;
  return which == 1 ? block_index : which == 2 ? block_shape : grid_shape;
}

EMU_RUNTIME int emu_lane() { return me->lane; }

// Called by Python: the barriers of the last launch, over its blocks.
EMU_RUNTIME unsigned emu_barriers() { return epoch + 1 - launch_first - (unsigned)blocks.size(); }

EMU_RUNTIME int emu_barrier(bool vote, int line) {
  Thread* self = me;
  me->line = line;
  me->pc = CALLER;
  me->state = AT_BARRIER;
  votes += vote;
  if (++arrived == alive) release_barrier();
  else switch_to_scheduler();
  me = self;
  return votes_counted;
}
