// Every access of a kernel comes here: is it inside, aligned, of something written, and in order with the others?
#include "runtime.h"
#include <algorithm>

namespace {

// ---- other blocks: they run in any order, unless the last to finish uses what the others wrote ----

Block& block_of(uint32_t when) {
  auto after = std::upper_bound(blocks.begin(), blocks.end(), when,
                                [](uint32_t when, const Block& block) { return when < block.first; });
  return *(after - 1);
}

// Both blocks did an atomic after a fence, the other's thread its fence no earlier than its access.
bool ordered_by_fences(const Block& other, uint16_t thread, uint32_t when) {
  return blocks.back().released && other.released && other.fenced[thread & ID] >= when;
}

bool in_disorder_with(uint32_t when, uint16_t thread) {
  bool other_block = when >= launch_first && when < block_first;
  return other_block && !ordered_by_fences(block_of(when), thread, when);
}

std::string block_name(uint32_t when) {
  uint3 i = unflatten(block_of(when).index, grid_shape);
  return format("block (%u,%u,%u)", i.x, i.y, i.z);
}

// ---- the rules, for one cell ----

struct Attempt {  // what is being done, for messages
  const Window& window;
  uintptr_t p;
  Access access;
  uintptr_t pc;
};

constexpr const char* NO_BARRIER = ", with no barrier between";
constexpr const char* NO_ORDER = "; blocks run in any order";

[[noreturn]] COLD void race(const Attempt& now, const char* did, uint32_t pc, const std::string& who, const char* why) {
  std::string here = std::string(verb(now.access)) + " " + place(now.window, now.p);
  fail(now.pc, "race: " + here + ", which " + who + " " + did + " at " + source_line(pc) + why);
}

[[noreturn]] COLD void in_flight(const Attempt& now, const Cell& cell) {
  std::string what = std::string(verb(now.access)) + " " + place(now.window, now.p);
  if (now.access == READ)
    fail(now.pc, what + ", which " + thread_name(cell.writer & ID) + " copies with cp.async at " +
                     source_line(cell.write_pc) + " and has not waited for");
  fail(now.pc, what + " while the cp.async at " + source_line(cell.write_pc) + " is in flight");
}

[[noreturn]] COLD void never_written(const Attempt& now) {
  bool shared = now.window.region->shared;
  fail(now.pc, (now.access == READ ? "reads " : "atomic on ") + place(now.window, now.p) +
                   (shared ? ", which nobody in this block has written yet" : ", which was never written"));
}

bool in_my_warp(uint16_t thread) { return (thread & ID) >> 5 == me->warp; }

// In this interval between barriers, by another thread, and no __syncwarp between
bool unordered_write(const Cell& cell) {
  bool other = (cell.writer & ID) != me->id;
  bool synced = in_my_warp(cell.writer) && cell.write_warp_epoch != warp_epoch[me->warp];
  return other && !synced;
}

bool unordered_read(const Cell& cell) {
  if (cell.reader & SEVERAL_WARPS || !in_my_warp(cell.reader)) return true;
  if (cell.read_warp_epoch != warp_epoch[me->warp]) return false;
  return cell.reader & SEVERAL_LANES || (cell.reader & ID) != me->id;
}

void remember_read(const Window& window, Cell& cell, uintptr_t pc) {
  uint16_t now = warp_epoch[me->warp];
  if (cell.read_epoch != epoch) {
    bool this_launch = cell.read_epoch >= launch_first;
    bool others = this_launch && (cell.read_epoch < block_first || cell.reader & OTHER_BLOCKS);
    cell.read_epoch = epoch;
    cell.reader = me->id | (others && !window.region->shared ? OTHER_BLOCKS : 0);
  } else if (cell.reader & SEVERAL_WARPS) {
    return;
  } else if (!in_my_warp(cell.reader)) {
    cell.reader |= SEVERAL_WARPS;
    return;
  } else if (cell.read_warp_epoch != now) {
    cell.reader = me->id | (cell.reader & OTHER_BLOCKS);
  } else {
    if ((cell.reader & ID) != me->id) cell.reader |= SEVERAL_LANES;
    return;
  }
  cell.read_warp_epoch = now;
  cell.read_pc = pc - base;
}

inline void read_cell(const Window& window, Cell& cell, uintptr_t p, uintptr_t pc) {
  auto now = [&] { return Attempt{window, p, READ, pc}; };  // made only for an error
  if (cell.write_epoch >= block_first && cell.writer & IN_FLIGHT) in_flight(now(), cell);
  if (cell.write_epoch == epoch) {
    if (unordered_write(cell)) race(now(), "writes", cell.write_pc, thread_name(cell.writer & ID), NO_BARRIER);
  } else if (cell.write_epoch < block_first) {
    if (window.region->shared || (!cell.write_epoch && !window.region->written)) never_written(now());
    if (in_disorder_with(cell.write_epoch, cell.writer))
      race(now(), "writes", cell.write_pc, block_name(cell.write_epoch), NO_ORDER);
  }
  remember_read(window, cell, pc);
}

inline void write_cell(const Window& window, Cell& cell, uintptr_t p, Access access, uintptr_t pc) {
  auto now = [&] { return Attempt{window, p, access, pc}; };
  const bool shared = window.region->shared;
  const bool both_atomic = access == UPDATE && cell.writer & ATOMIC;
  if (cell.write_epoch >= block_first && cell.writer & IN_FLIGHT) in_flight(now(), cell);

  if (cell.write_epoch == epoch) {
    if (!both_atomic && unordered_write(cell))
      race(now(), "writes", cell.write_pc, thread_name(cell.writer & ID), NO_BARRIER);
  } else if (!shared && !both_atomic && in_disorder_with(cell.write_epoch, cell.writer)) {
    race(now(), "writes", cell.write_pc, block_name(cell.write_epoch), NO_ORDER);
  }
  if (access == UPDATE && (shared ? cell.write_epoch < block_first : !cell.write_epoch && !window.region->written))
    never_written(now());

  if (cell.read_epoch == epoch && unordered_read(cell)) {
    bool known = (cell.reader & ID) != me->id;
    race(now(), "reads", cell.read_pc, known ? thread_name(cell.reader & ID) : "another thread", NO_BARRIER);
  }
  if (!shared && cell.read_epoch >= launch_first) {
    if (cell.read_epoch < block_first && in_disorder_with(cell.read_epoch, cell.reader))
      race(now(), "reads", cell.read_pc, block_name(cell.read_epoch), NO_ORDER);
    if (cell.read_epoch >= block_first && cell.reader & OTHER_BLOCKS && !blocks.back().released)
      race(now(), "reads", cell.read_pc, "another block", NO_ORDER);
  }

  cell.write_epoch = epoch;
  cell.writer = me->id | (access == UPDATE ? ATOMIC : access == COPY ? IN_FLIGHT : 0);
  cell.write_warp_epoch = warp_epoch[me->warp];
  cell.write_pc = pc - base;
}

// ---- what is wrong before any cell is looked at ----

[[noreturn]] COLD void misaligned(const Window& window, uintptr_t p, unsigned n, Access access, uintptr_t pc) {
  fail(pc, format("misaligned: %s %u bytes at an address that %u does not divide, ", verb(access), n, n) +
               place(window, p));
}

COLD Window* in_a_stack(uintptr_t p, Access access, uintptr_t pc) {
  int owner = (p - (uintptr_t)stacks) / STACK;
  if (owner == me->id) return nullptr;  // a thread's own variables
  fail(pc, std::string(verb(access)) + " a variable of " + thread_name(owner) + ", which that thread alone can see");
}

}  // namespace

template <Access access>
Window* touch(uintptr_t p, unsigned n, uintptr_t pc) {
  if (!checking) return nullptr;
  if (p - (uintptr_t)stacks < STACKS) return in_a_stack(p, access, pc);
  Window* window = last_window[pc >> 2 & 255];
  if (p - window->start >= window->size) window = find_window(p, n, access, pc);
  if (p + n > window->start + window->size) out_of_bounds(p, n, access, pc);
  if (p & (n - 1)) misaligned(*window, p, n, access, pc);
  if (late) fail_late(pc);

  Region& region = *window->region;
  if (profiling) me->log.push_back({(uint32_t)(pc - base), (uint16_t)n, access != READ, region.shared, p});
  uintptr_t at = p - region.start;
  if ((at | n) & ((1 << region.shift) - 1)) refine(region, __builtin_ctzl(at | n));
  Cell* cell = region.cells + (at >> region.shift);
  Cell* end = cell + (n >> region.shift);
  for (; cell < end; cell++, p += 1 << region.shift) {
    if (access == READ) read_cell(*window, *cell, p, pc);
    else write_cell(*window, *cell, p, access, pc);
  }
  return window;
}

template <Access access>
void touch_range(uintptr_t p, size_t n, uintptr_t pc) {
  while (n) {
    unsigned piece = 16;
    while (piece > n || p & (piece - 1)) piece /= 2;
    touch<access>(p, piece, pc);
    p += piece;
    n -= piece;
  }
}

template Window* touch<READ>(uintptr_t, unsigned, uintptr_t);
template Window* touch<WRITE>(uintptr_t, unsigned, uintptr_t);
template Window* touch<UPDATE>(uintptr_t, unsigned, uintptr_t);
template Window* touch<COPY>(uintptr_t, unsigned, uintptr_t);
template void touch_range<READ>(uintptr_t, size_t, uintptr_t);
template void touch_range<WRITE>(uintptr_t, size_t, uintptr_t);
