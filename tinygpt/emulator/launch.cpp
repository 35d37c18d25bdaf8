// A launch: what Python calls to run a kernel, and how a kernel that did something wrong is ended.
#include "runtime.h"
#include <algorithm>
#include <cstdarg>
#include <cstdio>

std::vector<Block> blocks;
uint3 block_index, block_shape, grid_shape;
bool checking, profiling;
uintptr_t base;
void (*enter_kernel)(void**);
void** kernel_arguments;

Region* shared_region(uintptr_t start, size_t size);  // memory.cpp

namespace {

jmp_buf launcher;
std::string error;
constexpr uint32_t LAST_EPOCH = 3u << 30;

}  // namespace

// ---- errors: "block, thread, line: what"; Python puts file and line in the place of <@address> ----

std::string format(const char* text, ...) {
  char line[1024];
  va_list values;
  va_start(values, text);
  vsnprintf(line, sizeof line, text, values);
  va_end(values);
  return line;
}

uint3 unflatten(unsigned i, uint3 shape) { return {i % shape.x, i / shape.x % shape.y, i / shape.x / shape.y}; }

std::string thread_name(int id) {
  uint3 i = unflatten(id, block_shape);
  return format("thread (%u,%u,%u)", i.x, i.y, i.z);
}

std::string source_line(uint32_t pc) { return format("<@%x>", pc); }

[[noreturn]] COLD void fail(uintptr_t pc, const std::string& what) {
  uint3 b = block_index;
  error = format("block (%u,%u,%u), ", b.x, b.y, b.z) + (me ? thread_name(me->id) : "all threads") + ", " +
          source_line(pc - base) + ": " + what;
  longjmp(launcher, 1);  // from the fiber's stack to Python's; what the fiber's frames own is left
}

[[noreturn]] COLD void fail_late(uintptr_t pc) {
  fail(pc, "still running after the time allowed: does it wait for another block?");
}

[[noreturn]] COLD void refuse(const std::string& why) {
  error = why;
  longjmp(launcher, 1);
}

// ---- called by Python ----

struct Argument {  // as module.py has it
  uintptr_t start;
  size_t size;
  int number, item;
};

struct Variable {  // a static shared variable
  uintptr_t start;
  size_t size;
};

struct Launch {
  void (*enter)(void**);
  void** arguments;
  uintptr_t base, code_end;  // of the kernel's library
  const Variable* variables;
  int n_variables, dynamic_size;
  unsigned grid[3], block[3];
  int checks, profile;
  uint64_t seed;
  double seconds;
};

static void open_all_windows(const Launch& launch, const Argument* arrays, int n_arrays) {
  windows.clear();
  for (int i = 0; i < n_arrays; i++)
    windows.push_back({arrays[i].start, arrays[i].size, nullptr, ARGUMENT, arrays[i].number, arrays[i].item});
  for (int i = 0; i < launch.n_variables; i++) {
    const Variable& variable = launch.variables[i];
    windows.push_back({variable.start, variable.size, shared_region(variable.start, variable.size), STATIC, i, 1});
  }
  if (launch.dynamic_size) {
    Region* region = shared_region((uintptr_t)emu_dynamic, DYNAMIC_SIZE);
    windows.push_back({(uintptr_t)emu_dynamic, (size_t)launch.dynamic_size, region, DYNAMIC, 0, 1});
  }
  open_windows();
}

static void run_blocks(const Launch& launch) {
  uint64_t random = launch.seed;
  std::vector<unsigned> order((size_t)launch.grid[0] * launch.grid[1] * launch.grid[2]);
  for (size_t i = 0; i < order.size(); i++) order[i] = i;
  for (size_t i = order.size(); i-- > 1;) std::swap(order[i], order[next_random(random) % (i + 1)]);
  for (unsigned index : order) run_block(index, random);
}

// Null, or what the kernel did wrong.
EMU_RUNTIME const char* emu_launch(const Launch* launch, const Argument* arrays, int n_arrays) {
  begin_threads();
  base = launch->base;
  checking = launch->checks;
  profiling = launch->profile;
  enter_kernel = launch->enter;
  kernel_arguments = launch->arguments;
  grid_shape = {launch->grid[0], launch->grid[1], launch->grid[2]};
  block_shape = {launch->block[0], launch->block[1], launch->block[2]};
  block_index = {0, 0, 0};
  n_threads = block_shape.x * block_shape.y * block_shape.z;
  n_warps = (n_threads + LANES - 1) / LANES;
  me = nullptr;
  blocks.clear();
  if (epoch > LAST_EPOCH) {
    forget_epochs();
    epoch = 2;
  }
  launch_first = epoch + 1;

  volatile bool failed = false;
  if (!setjmp(launcher)) {
    watch(launch->seconds, launch->base, launch->code_end);
    open_all_windows(*launch, arrays, n_arrays);
    run_blocks(*launch);
  } else {
    failed = true;
    forget_fibers();
  }
  stop_watching();
  me = nullptr;
  checking = false;
  close_windows();
  return failed ? error.c_str() : nullptr;
}
