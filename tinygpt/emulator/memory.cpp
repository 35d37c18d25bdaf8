// Memory: which there is, what a launch may touch of it, and what was written.
#include "runtime.h"
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>

std::vector<Window> windows;
Window* last_window[256];

namespace {

constexpr int COARSE = 2;  // cells of four bytes, until a smaller access shows that smaller ones are needed
std::map<uintptr_t, Region> memory;
std::vector<Region> temporary;  // of arguments that nobody registered
Region nothing;
Window nowhere = {0, 0, &nothing, ARGUMENT, 0, 0};

Region new_region(uintptr_t start, size_t size, bool shared, bool written) {
  Cell* cells = (Cell*)calloc((size >> COARSE) + 1, sizeof(Cell));
  return {start, size, cells, COARSE, shared, written};
}

Region* region_at(uintptr_t p) {
  auto after = memory.upper_bound(p);
  if (after == memory.begin()) return nullptr;
  Region& region = std::prev(after)->second;
  return p - region.start < region.size ? &region : nullptr;
}

// Runs over the cells of an array with these strides; `visit` is told how many bytes a cell holds.
template <class Visit>
void for_each_cell(Region& region, uintptr_t p, int dimensions, const long* shape, const long* strides, long item,
                   const Visit& visit) {
  if (dimensions) {
    for (long i = 0; i < shape[0]; i++) {
      for_each_cell(region, p + i * strides[0], dimensions - 1, shape + 1, strides + 1, item, visit);
      if (!strides[0]) break;  // repeated by broadcasting
    }
    return;
  }
  uintptr_t at = p - region.start;
  if (at >= region.size) return;
  item = std::min<long>(item, region.size - at);
  size_t end = (at + item + (1 << region.shift) - 1) >> region.shift;
  for (size_t i = at >> region.shift; i < end; i++) visit(region.cells[i], 1 << region.shift);
}

}  // namespace

// ---- called by Python ----

EMU_RUNTIME void emu_forget(uintptr_t start) {
  auto found = memory.find(start);
  if (found == memory.end()) return;
  free(found->second.cells);
  memory.erase(found);
}

EMU_RUNTIME void emu_register(uintptr_t start, size_t size, bool written) {
  for (auto old = memory.lower_bound(start); old != memory.end() && old->first < start + size;) {
    free(old->second.cells);
    old = memory.erase(old);
  }
  if (Region* old = region_at(start)) emu_forget(old->start);  // it was freed, and nobody said so
  memory[start] = new_region(start, size, false, written);
}

// The bytes of an array that were never written. `mark`: from now on they count as written.
EMU_RUNTIME long emu_unwritten(uintptr_t p, int dimensions, const long* shape, const long* strides, long item,
                               bool mark) {
  Region* region = region_at(p);
  if (!region || region->written) return 0;
  bool whole = !dimensions && p == region->start && (size_t)item >= region->size;
  if (whole && mark) region->written = true;
  if (!whole) {
    uintptr_t parts = (p - region->start) | item;
    for (int i = 0; i < dimensions; i++) parts |= strides[i];
    int shift = parts ? __builtin_ctzl(parts) : COARSE;
    if (shift < region->shift) refine(*region, shift);
  }
  long unwritten = 0;
  if (whole && mark) return unwritten;
  for_each_cell(*region, p, dimensions, shape, strides, item, [&](Cell& cell, int bytes) {
    if (cell.write_epoch) return;
    unwritten += bytes;
    if (mark) cell.write_epoch = 1;
  });
  return whole ? std::min<long>(unwritten, item) : unwritten;
}

// ---- called by the runtime ----

// Gives each window its region. Arguments that nobody registered get shadows for this launch alone, one for those that
// overlap, and count as written.
void open_windows() {
  for (auto& window : last_window) window = &nowhere;
  std::vector<Window*> strangers;
  for (Window& window : windows) {
    if (window.region) continue;
    window.region = region_at(window.start);
    if (!window.region) strangers.push_back(&window);
    else if (window.start + window.size > window.region->start + window.region->size)
      refuse(format("<a:%d> reaches beyond the memory that was registered for it", window.number));
  }
  std::sort(strangers.begin(), strangers.end(), [](Window* a, Window* b) { return a->start < b->start; });
  temporary.reserve(strangers.size());  // windows point into it
  for (size_t i = 0; i < strangers.size();) {
    uintptr_t start = strangers[i]->start, end = start + strangers[i]->size;
    size_t next = i + 1;
    for (; next < strangers.size() && strangers[next]->start < end; next++)
      end = std::max(end, strangers[next]->start + strangers[next]->size);
    temporary.push_back(new_region(start, end - start, false, true));
    for (; i < next; i++) strangers[i]->region = &temporary.back();
  }
}

void close_windows() {
  windows.clear();
  for (Region& region : temporary) free(region.cells);
  temporary.clear();
}

Region* shared_region(uintptr_t start, size_t size) {
  auto [found, fresh] = memory.try_emplace(start);
  if (fresh) found->second = new_region(start, size, true, false);
  return &found->second;
}

// Epochs have 32 bits: before they run out, what was written becomes what the host wrote.
void forget_epochs() {
  for (auto& [_, region] : memory) {
    for (size_t i = 0; i < (region.size >> region.shift) + 1; i++) {
      Cell& cell = region.cells[i];
      cell.write_epoch = cell.write_epoch && !region.shared ? 1 : 0;
      cell.read_epoch = 0;
    }
  }
}

COLD Window* find_window(uintptr_t p, unsigned n, Access access, uintptr_t pc) {
  for (Window& window : windows) {
    if (p - window.start < window.size) return last_window[pc >> 2 & 255] = &window;
  }
  out_of_bounds(p, n, access, pc);
}

COLD void refine(Region& region, int shift) {
  int more = region.shift - shift;
  size_t n = ((region.size >> region.shift) + 1) << more;
  Cell* cells = (Cell*)calloc(n, sizeof(Cell));
  for (size_t i = 0; i < n; i++) cells[i] = region.cells[i >> more];
  free(region.cells);
  region.cells = cells;
  region.shift = shift;
}

// ---- messages; Python puts names in the place of <a:number>, an argument, and <s:number>, a static variable ----

const char* verb(Access access) {
  static const char* verbs[] = {"reads", "writes", "atomically changes", "copies (cp.async) into"};
  return verbs[access];
}

static std::string name(const Window& window) {
  if (window.owner == ARGUMENT) return format("<a:%d>", window.number);
  return window.owner == STATIC ? format("shared memory <s:%d>", window.number) : "dynamic shared memory";
}

std::string place(const Window& window, uintptr_t p) {
  long byte = p - window.start;
  if (window.owner != ARGUMENT) return name(window) + format(", byte %ld", byte);
  return name(window) + format(", element %ld", byte / std::max(window.item, 1));
}

COLD void out_of_bounds(uintptr_t p, unsigned n, Access access, uintptr_t pc) {
  std::string what = format("out of bounds: %s %u bytes ", verb(access), n);
  const Window* nearest = nullptr;
  size_t distance = 64 << 20;
  for (Window& window : windows) {
    size_t from_here = p < window.start ? window.start - p : p + n - window.start - window.size;
    if (from_here >= distance) continue;
    distance = from_here;
    nearest = &window;
  }
  if (p < 1 << 16) fail(pc, what + format("at %#lx: a null pointer", p));
  if (!nearest) fail(pc, what + format("at %#lx, far from any argument", p));
  if (p < nearest->start) fail(pc, what + format("starting %zu bytes before ", distance) + name(*nearest));
  fail(pc, what + format("ending %zu bytes after the end of ", distance) + name(*nearest));
}
