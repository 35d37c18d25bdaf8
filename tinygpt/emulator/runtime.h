// What the files of the runtime share. One fiber is one CUDA thread; blocks run one after another, and within a block
// one thread runs until it must wait for others. So nothing here needs a lock; Python sees to it that one launch runs
// at once.
#pragma once
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>
#include "calls.h"

#define CALLER ((uintptr_t)__builtin_return_address(0))
#define COLD __attribute__((noinline, cold))

// ---- memory.cpp: a region is an allocation with its shadow; a window is what a launch may touch of it ----

// What is remembered of 2^shift bytes: the last write and the last read. Epochs count the intervals between barriers,
// over all blocks and launches: two accesses of one block with different epochs have a barrier between them, and an
// epoch before the block's first belongs to another block or an earlier launch. Epoch 0 is never, 1 is the host's.
struct Cell {
  uint32_t write_epoch, read_epoch;
  uint32_t write_pc, read_pc;
  uint16_t write_warp_epoch, read_warp_epoch;
  uint16_t writer, reader;  // the thread of the block, and flags
};
constexpr uint16_t ID = 1023;
constexpr uint16_t ATOMIC = 1 << 10, IN_FLIGHT = 1 << 11;                                     // of a writer
constexpr uint16_t SEVERAL_LANES = 1 << 10, SEVERAL_WARPS = 1 << 11, OTHER_BLOCKS = 1 << 12;  // of a reader

struct Region {
  uintptr_t start;
  size_t size;
  Cell* cells;
  int shift;
  bool shared;
  bool written;  // all of it, whatever the cells say
};

enum Owner { ARGUMENT, STATIC, DYNAMIC };
struct Window {
  uintptr_t start;
  size_t size;
  Region* region;
  Owner owner;
  int number;  // of the argument or the static variable
  int item;    // bytes
};

enum Access { READ, WRITE, UPDATE, COPY };  // UPDATE: an atomic; COPY: cp.async, which lands when it is waited for

extern std::vector<Window> windows;
extern Window* last_window[256];  // the window that an instruction touched last, by the low bits of its address
Window* find_window(uintptr_t p, unsigned n, Access access, uintptr_t pc);
void refine(Region& region, int shift);
[[noreturn]] void out_of_bounds(uintptr_t p, unsigned n, Access access, uintptr_t pc);
std::string place(const Window& window, uintptr_t p);
const char* verb(Access access);
void open_windows();
void close_windows();
void forget_epochs();

// ---- races.cpp: every access comes here ----

// Checks n bytes at p, which are to lie in one window and aligned to n; null for what is not checked.
template <Access access>
Window* touch(uintptr_t p, unsigned n, uintptr_t pc);
// The same for any number of bytes: a struct, in the widest aligned pieces.
template <Access access>
void touch_range(uintptr_t p, size_t n, uintptr_t pc);

// ---- threads.cpp: fibers and barriers ----

constexpr int MAX_THREADS = 1024;
constexpr int LANES = 32;
constexpr size_t STACK = 128 << 10;
constexpr size_t STACKS = MAX_THREADS * STACK;
constexpr size_t DYNAMIC_SIZE = 256 << 10;

enum State { READY, AT_BARRIER, IN_WARP, LEFT };
enum Meeting { SYNC, SHUFFLE, VOTE, LDMATRIX, MMA_BF16, MMA_TF32 };

struct Copy {
  void* to;
  const void* from;
  int size, zeros;
};

struct Logged {  // an access, for the profile
  uint32_t pc;
  uint16_t size;
  bool write, shared;
  uintptr_t address;
};

struct Thread {
  jmp_buf context;
  bool started;
  State state;
  uint3 index;
  int id, warp, lane;

  // What it waits for
  Meeting meeting;
  unsigned mask;
  int line, from, size;
  const void* in;
  void* out;
  uintptr_t pc;

  std::vector<Copy> open;                 // cp.async since the last commit
  std::vector<std::vector<Copy>> groups;  // committed, not waited for
  std::vector<Logged> log;
};

extern Thread threads[MAX_THREADS];
extern Thread* me;  // null where it is no one thread
extern int n_threads, n_warps;
extern unsigned warp_alive[LANES], warp_arrived[LANES];  // a bit a lane
extern uint16_t warp_epoch[LANES];                       // counts __syncwarp within a block
extern uint32_t epoch, launch_first, block_first;
extern char* stacks;
void run_block(unsigned index, uint64_t& random);
void begin_threads();
void forget_fibers();
void switch_to_scheduler();
uint64_t next_random(uint64_t& state);

// ---- lanes.cpp, matrices.cpp, copies.cpp, profile.cpp, watchdog.cpp ----

void meet(int warp, unsigned mask);
void load_matrices(Thread* warp);
void multiply_bf16(Thread* warp);
void multiply_tf32(Thread* warp);
void wait_for_lanes(Meeting meeting, unsigned mask, int from, const void* in, void* out, int size, int line,
                    uintptr_t pc);
bool copies_in_flight();
void count_accesses();
void watch(double seconds, uintptr_t code_start, uintptr_t code_end);
void stop_watching();
extern volatile int late;  // the time allowed is over

// ---- launch.cpp ----

struct Block {
  uint32_t first;  // epoch
  unsigned index;
  bool released;                 // an atomic after a fence: others may rely on what was written before
  std::vector<uint32_t> fenced;  // for each thread the epoch of its last fence
};
extern std::vector<Block> blocks;  // of this launch, in the order in which they run
extern uint3 block_index, block_shape, grid_shape;
extern bool checking, profiling;
extern uintptr_t base;  // of the kernel's library
extern void (*enter_kernel)(void**);
extern void** kernel_arguments;

[[noreturn]] void fail(uintptr_t pc, const std::string& what);
[[noreturn]] void fail_late(uintptr_t pc);
[[noreturn]] void refuse(const std::string& why);  // a launch, before it begins
uint3 unflatten(unsigned i, uint3 shape);
std::string format(const char* text, ...) __attribute__((format(printf, 1, 2)));
std::string thread_name(int id);
std::string source_line(uint32_t pc);
