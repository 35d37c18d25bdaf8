// What g++ calls of itself: before each access, with -fsanitize=thread, and where an index or a number leaves its
// range, with -fsanitize=bounds and others. The sanitizers' own libraries are not linked.
#include "runtime.h"

// ---- accesses ----

#define ACCESS(N)                                                                        \
  EMU_RUNTIME void __tsan_read##N(void* p) { touch<READ>((uintptr_t)p, N, CALLER); }     \
  EMU_RUNTIME void __tsan_write##N(void* p) { touch<WRITE>((uintptr_t)p, N, CALLER); }

ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)

#define UNALIGNED(N)                                                                                            \
  EMU_RUNTIME void __tsan_unaligned_read##N(void* p) { touch_range<READ>((uintptr_t)p, N, CALLER); }            \
  EMU_RUNTIME void __tsan_unaligned_write##N(void* p) { touch_range<WRITE>((uintptr_t)p, N, CALLER); }

UNALIGNED(2)
UNALIGNED(4)
UNALIGNED(8)
UNALIGNED(16)

EMU_RUNTIME void __tsan_read_range(void* p, size_t n) { touch_range<READ>((uintptr_t)p, n, CALLER); }
EMU_RUNTIME void __tsan_write_range(void* p, size_t n) { touch_range<WRITE>((uintptr_t)p, n, CALLER); }

EMU_RUNTIME void __tsan_init() {}
EMU_RUNTIME void __tsan_func_entry(void*) {}
EMU_RUNTIME void __tsan_func_exit() {}
EMU_RUNTIME void __tsan_vptr_update(void**, void*) {}
EMU_RUNTIME void __tsan_vptr_read(void**) {}

// Asked by a __shared__ array of a class with a constructor, whether it is initialised: yes, with nothing.
EMU_RUNTIME char __tsan_atomic8_load(const volatile char*, int) { return 1; }

// ---- indices and numbers; the structures are the compiler's ----

struct Type {
  uint16_t kind, info;
  char name[1];
};

struct Source {
  const char* file;
  uint32_t line, column;
  const Type* type;
};

EMU_RUNTIME void __ubsan_handle_out_of_bounds(Source* source, uintptr_t index) {
  fail(CALLER, format("index %d is outside %s", (int)index, source->type->name));
}

EMU_RUNTIME void __ubsan_handle_shift_out_of_bounds(Source*, uintptr_t, uintptr_t by) {
  fail(CALLER, format("shift by %ld bits", (long)by));
}

EMU_RUNTIME void __ubsan_handle_divrem_overflow(Source*, uintptr_t, uintptr_t) { fail(CALLER, "division by zero"); }

#define OVERFLOW(NAME)                                                                   \
  EMU_RUNTIME void __ubsan_handle_##NAME##_overflow(Source* source, uintptr_t, uintptr_t) { \
    fail(CALLER, format(#NAME ": the result does not fit %s", source->type->name));      \
  }

OVERFLOW(add)
OVERFLOW(sub)
OVERFLOW(mul)
OVERFLOW(negate)
