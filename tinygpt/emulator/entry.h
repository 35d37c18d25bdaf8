// How Python enters a kernel: its arguments as an array of addresses, its signature as two letters a parameter.
#pragma once

namespace emu {

// As NumPy's letters: 'f' for float32, 'i' for int32, ...; 'E' for bfloat16, '*' for what has none. Of a vector type,
// such as float4, that of its elements.
template <class T, class = void>
struct Element {
  using type = T;
};
template <class T>
struct Element<T, std::void_t<decltype(T::x)>> {
  using type = decltype(T::x);
};

template <class Given>
constexpr char letter() {
  using T = typename Element<std::remove_cv_t<Given>>::type;
  if (std::is_same_v<T, __nv_bfloat16>) return 'E';
  if (std::is_floating_point_v<T>) return sizeof(T) == 4 ? 'f' : 'd';
  if (std::is_integral_v<T>) return (std::is_signed_v<T> ? "bh_i___q" : "BH_I___Q")[sizeof(T) - 1];
  return '*';
}

template <class T>
struct Parameter {
  static constexpr char code[3] = {std::is_class_v<T> ? 's' : 'v', letter<T>(), 0};
};
template <class T>
struct Parameter<T*> {
  static constexpr char code[3] = {'p', letter<T>(), 0};
};

template <class... A>
void signature(void (*)(A...), char* out) {
  *out = 0;
  ((out = stpcpy(out, Parameter<A>::code)), ...);
}

template <class... A, size_t... I>
__attribute__((no_sanitize("thread"), noinline)) void call(
    void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
  kernel(*(A*)arguments[I]...);
}

template <class... A>
__attribute__((no_sanitize("thread"))) void enter(void (*kernel)(A...), void** arguments) {
  call(kernel, arguments, std::index_sequence_for<A...>());
}

constexpr int most_threads(int threads = 0, int = 0, int = 0) { return threads; }

}  // namespace emu

// Named by the linker: the ends of the shared variables, the library's start, the end of its code.
#define EMU_LINKER extern "C" __attribute__((weak, visibility("hidden"))) char
EMU_LINKER __start_emu_shared[];
EMU_LINKER __stop_emu_shared[];
EMU_LINKER __ehdr_start[];
EMU_LINKER etext[];

#define EMU_MODULE                                                                       \
  EMU_RUNTIME void emu_module(char** ends) {                                             \
    ends[0] = __start_emu_shared;                                                        \
    ends[1] = __stop_emu_shared;                                                         \
    ends[2] = __ehdr_start;                                                              \
    ends[3] = etext;                                                                     \
  }
#define EMU_KERNEL(name, ...)                                                            \
  EMU_RUNTIME void emu_enter_##name(void** arguments) { emu::enter(name, arguments); }   \
  EMU_RUNTIME int emu_signature_##name(char* out) {                                      \
    emu::signature(name, out);                                                           \
    return emu::most_threads(__VA_ARGS__);                                               \
  }
