// cp.async: a copy into shared memory lands when its thread waits for it; until then nobody may look. And plain copies.
#include "runtime.h"
#include <algorithm>
#include <cstring>

namespace {

void land(const Copy& copy) {
  int read = copy.size - copy.zeros;
  memcpy(copy.to, copy.from, read);
  memset((char*)copy.to + read, 0, copy.zeros);
  uintptr_t p = (uintptr_t)copy.to;
  for (Window& window : windows) {
    if (p - window.start >= window.size) continue;
    Region& region = *window.region;
    Cell* cell = region.cells + ((p - region.start) >> region.shift);
    for (Cell* end = cell + (copy.size >> region.shift); cell < end; cell++) {
      cell->write_epoch = epoch;
      cell->writer = me->id;
      cell->write_warp_epoch = warp_epoch[me->warp];
    }
    return;
  }
}

}  // namespace

bool copies_in_flight() {
  bool any = !me->open.empty();
  for (auto& group : me->groups) any |= !group.empty();
  return any;
}

// ---- called by kernels ----

EMU_RUNTIME void emu_copy_async(void* to, const void* from, int size, int zeros) {
  me->pc = CALLER;
  if (size != 4 && size != 8 && size != 16) fail(CALLER, "cp.async copies 4, 8 or 16 bytes");
  if ((uintptr_t)from % size) fail(CALLER, "misaligned: source of cp.async");
  if (zeros < 0 || zeros > size) fail(CALLER, format("cp.async of %d bytes fills %d with zeros", size, zeros));
  touch_range<READ>((uintptr_t)from, size - zeros, CALLER);
  Window* window = touch<COPY>((uintptr_t)to, size, CALLER);
  if (checking && !(window && window->region->shared)) fail(CALLER, "cp.async copies into shared memory only");
  me->open.push_back({to, from, size, zeros});
}

EMU_RUNTIME void emu_copy_commit() {
  me->groups.push_back(me->open);
  me->open.clear();
}

EMU_RUNTIME void emu_copy_wait(int keep) {
  auto& groups = me->groups;
  int done = std::max(0, (int)groups.size() - keep);
  for (int i = 0; i < done; i++) {
    for (const Copy& copy : groups[i]) land(copy);
  }
  groups.erase(groups.begin(), groups.begin() + done);
}

EMU_RUNTIME void emu_copy(void* to, const void* from, size_t n) {
  touch_range<READ>((uintptr_t)from, n, CALLER);
  touch_range<WRITE>((uintptr_t)to, n, CALLER);
  memmove(to, from, n);
}

EMU_RUNTIME void emu_fill(void* to, int value, size_t n) {
  touch_range<WRITE>((uintptr_t)to, n, CALLER);
  memset(to, value, n);
}

// ---- atomics and fences ----

EMU_RUNTIME void emu_atomic_begin(const void* p, void* old, int size) {
  Window* window = touch<UPDATE>((uintptr_t)p, size, CALLER);
  bool global = window && !window->region->shared;
  if (global && !blocks.back().fenced.empty()) blocks.back().released = true;
  memcpy(old, p, size);
}

EMU_RUNTIME void emu_atomic_end(void* p, const void* now, int size) { memcpy(p, now, size); }

EMU_RUNTIME void emu_fence() {
  auto& fenced = blocks.back().fenced;
  fenced.resize(n_threads);
  fenced[me->id] = epoch;
}
