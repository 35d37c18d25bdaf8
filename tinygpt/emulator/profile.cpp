// What a launch moves, by source line: sectors of 32 bytes of global memory, passes over the 32 banks of shared memory.
// The k-th time that the lanes of a warp reach a line, between two barriers, is taken as one request of them together.
#include "runtime.h"
#include <algorithm>
#include <cstring>
#include <map>
#include <unordered_map>

namespace {

constexpr int SECTOR = 32, BANK = 4, BANKS = 32, REQUEST = 128;  // bytes, but for the number of banks

struct Line {  // as profile.py has it
  uint64_t base;
  uint32_t pc;
  int shared, write;
  uint64_t requests, bytes, units, ideal;
};

struct Part {  // one lane's part of a request
  uint64_t request;
  int lane;
  Logged access;
};

std::map<std::pair<uintptr_t, uint64_t>, Line> lines;

template <class T>
void sort_and_drop_copies(std::vector<T>& values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
}

void count_sectors(Line& line, const Part* parts, const Part* end) {
  std::vector<uintptr_t> sectors, starts;
  for (const Part* part = parts; part < end; part++) {
    uintptr_t p = part->access.address;
    starts.push_back(p);
    for (uintptr_t sector = p / SECTOR; sector <= (p + part->access.size - 1) / SECTOR; sector++)
      sectors.push_back(sector);
  }
  sort_and_drop_copies(sectors);
  sort_and_drop_copies(starts);
  line.units += sectors.size();
  line.ideal += (starts.size() * parts->access.size + SECTOR - 1) / SECTOR;
}

// Wide accesses go in phases of as many lanes as take 128 bytes; a phase takes as many passes as its fullest bank has
// different words.
void count_passes(Line& line, const Part* parts, const Part* end) {
  int lanes = std::min(LANES, REQUEST / parts->access.size);
  std::map<int, std::vector<uintptr_t>> phases;
  for (const Part* part = parts; part < end; part++) {
    uintptr_t p = part->access.address;
    for (uintptr_t word = p / BANK; word <= (p + part->access.size - 1) / BANK; word++)
      phases[part->lane / lanes].push_back(word);
  }
  for (auto& [_, words] : phases) {
    sort_and_drop_copies(words);
    int passes[BANKS] = {};
    for (uintptr_t word : words) passes[word % BANKS]++;
    line.units += *std::max_element(passes, passes + BANKS);
    line.ideal++;
  }
}

void count_request(const Part* parts, const Part* end) {
  const Logged& first = parts->access;
  Line& line = lines[{base, (uint64_t)first.pc << 2 | first.write << 1 | first.shared}];
  line.base = base;
  line.pc = first.pc;
  line.shared = first.shared;
  line.write = first.write;
  line.requests++;
  for (const Part* part = parts; part < end; part++) line.bytes += part->access.size;
  first.shared ? count_passes(line, parts, end) : count_sectors(line, parts, end);
}

}  // namespace

void count_accesses() {
  for (int w = 0; w < n_warps; w++) {
    std::vector<Part> parts;
    std::unordered_map<uint32_t, uint32_t> times;
    for (int i = w * LANES; i < std::min(n_threads, (w + 1) * LANES); i++) {
      times.clear();
      for (const Logged& access : threads[i].log)
        parts.push_back({(uint64_t)access.pc << 32 | times[access.pc]++, i % LANES, access});
      threads[i].log.clear();
    }
    std::stable_sort(parts.begin(), parts.end(), [](auto& a, auto& b) { return a.request < b.request; });
    for (size_t i = 0; i < parts.size();) {
      size_t next = i;
      while (next < parts.size() && parts[next].request == parts[i].request) next++;
      count_request(&parts[i], &parts[i] + (next - i));
      i = next;
    }
  }
}

// ---- called by Python: how many lines there are of a library; with room for them they are moved there ----

EMU_RUNTIME int emu_profile(uintptr_t library, Line* out) {
  int n = 0;
  for (auto line = lines.lower_bound({library, 0}); line != lines.end() && line->first.first == library;) {
    if (out) {
      out[n] = line->second;
      line = lines.erase(line);
    } else {
      ++line;
    }
    n++;
  }
  return n;
}
