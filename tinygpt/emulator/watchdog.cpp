// The time allowed to a launch. A timer sends a signal to the launch's own thread: where it finds the kernel's code,
// the launch is ended there, even in a loop that does nothing. Elsewhere, as in the runtime or in malloc, that would
// leave things half done; then `late` is set, which the runtime looks at, and the signal comes again soon.
#include "runtime.h"
#include <csignal>
#include <cstring>
#include <ctime>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

volatile int late;

namespace {

uintptr_t code_start, code_end;
timer_t timer;
bool armed;
struct sigaction before;

// Not SIGALRM, which whoever calls may use for a time limit of its own
int signal_number() { return SIGRTMIN + 7; }

void on_signal(int, siginfo_t*, void* context) {
  late = 1;
  uintptr_t pc = ((ucontext_t*)context)->uc_mcontext.gregs[REG_RIP];
  if (pc >= code_start && pc < code_end) fail_late(pc);
}

}  // namespace

void watch(double seconds, uintptr_t start, uintptr_t end) {
  late = 0;
  code_start = start;
  code_end = end;

  struct sigaction action = {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART;  // NODEFER: the handler is left by a jump
  sigaction(signal_number(), &action, &before);

  sigevent event = {};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = signal_number();
  event._sigev_un._tid = syscall(SYS_gettid);
  armed = !timer_create(CLOCK_MONOTONIC, &event, &timer);
  if (!armed) return;
  itimerspec times = {};
  times.it_value.tv_sec = (time_t)seconds;
  times.it_value.tv_nsec = (long)((seconds - (time_t)seconds) * 1e9) + 1;
  times.it_interval.tv_nsec = 1000000;
  timer_settime(timer, 0, &times, nullptr);
}

void stop_watching() {
  if (armed) timer_delete(timer);
  armed = false;
  code_start = code_end = 0;
  sigaction(signal_number(), &before, nullptr);
}
