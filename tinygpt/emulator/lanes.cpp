// Meetings of the lanes of a warp: __syncwarp, shuffles, votes, and what a warp does together with small matrices. The
// last lane to arrive does it for all of them, so that a lane is switched once.
#include "runtime.h"
#include <cstring>

namespace {

[[noreturn]] void diverge(const Thread& lane, const Thread& first) {
  std::string how = ", this lane is here";
  if (lane.mask != first.mask) how = format(" with mask %#x, this lane's is %#x", first.mask, lane.mask);
  fail(lane.pc, format("lanes of a warp diverge: lane %d is at ", first.lane) + source_line(first.pc - base) + how);
}

[[noreturn]] void shuffle_from_nobody(const Thread& lane) {
  std::string what = format("shuffle reads from lane %d, which ", lane.from);
  if (lane.warp * LANES + lane.from >= n_threads) fail(lane.pc, what + "does not exist");
  bool lives = warp_alive[lane.warp] >> lane.from & 1;
  fail(lane.pc, what + (lives ? "is not in the mask" : "has left the kernel"));
}

}  // namespace

// Once all lanes of the mask that still live are here.
void meet(int w, unsigned mask) {
  Thread* warp = threads + w * LANES;
  unsigned here = mask & warp_alive[w];
  unsigned votes = 0;
  if (!here || here & ~warp_arrived[w]) return;
  Thread& first = warp[__builtin_ctz(here)];
  for (int lane = 0; lane < LANES; lane++) {
    if (!(here >> lane & 1)) continue;
    Thread& t = warp[lane];
    me = &t;
    if (t.meeting != first.meeting || t.mask != first.mask || t.line != first.line) diverge(t, first);
    if (t.meeting == SHUFFLE && !(here >> t.from & 1)) shuffle_from_nobody(t);
    votes |= (unsigned)(t.from & 1) << lane;
  }
  me = &first;
  if (first.meeting >= LDMATRIX && here != ~0u) fail(first.pc, "ldmatrix and mma need all 32 lanes of the warp");
  if (first.meeting == SYNC) warp_epoch[w]++;
  if (first.meeting == LDMATRIX) load_matrices(warp);
  if (first.meeting == MMA_BF16) multiply_bf16(warp);
  if (first.meeting == MMA_TF32) multiply_tf32(warp);
  for (int lane = 0; lane < LANES; lane++) {
    if (!(here >> lane & 1)) continue;
    Thread& t = warp[lane];
    if (t.meeting == SHUFFLE) memcpy(t.out, warp[t.from].in, t.size);
    if (t.meeting == VOTE) memcpy(t.out, &votes, sizeof votes);
    t.state = READY;
  }
  warp_arrived[w] &= ~here;
}

void wait_for_lanes(Meeting meeting, unsigned mask, int from, const void* in, void* out, int size, int line,
                    uintptr_t pc) {
  Thread* self = me;
  if (!(mask >> me->lane & 1)) fail(pc, "a lane that is not in the mask takes part");
  me->meeting = meeting;
  me->mask = mask;
  me->from = from;
  me->in = in;
  me->out = out;
  me->size = size;
  me->line = line;
  me->pc = pc;
  me->state = IN_WARP;
  warp_arrived[me->warp] |= 1u << me->lane;
  meet(me->warp, mask);
  me = self;
  if (me->state != READY) switch_to_scheduler();
}

// ---- called by kernels ----

EMU_RUNTIME void emu_syncwarp(unsigned mask, int line) {
  wait_for_lanes(SYNC, mask, 0, nullptr, nullptr, 0, line, CALLER);
}

EMU_RUNTIME void emu_shuffle(unsigned mask, int from, const void* in, void* out, int size, int line) {
  wait_for_lanes(SHUFFLE, mask, from & (LANES - 1), in, out, size, line, CALLER);
}

EMU_RUNTIME unsigned emu_ballot(unsigned mask, bool vote, int line) {
  unsigned votes;
  wait_for_lanes(VOTE, mask, vote, nullptr, &votes, sizeof votes, line, CALLER);
  return votes;
}
