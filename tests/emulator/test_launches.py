"""Launches from several threads, their time limit, and many of them."""

import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.emulator import mutants
from tests.emulator.running import launch_error, module, text
from tinygpt import emulator


def test_launches_from_several_threads_do_not_mix(rng):
    copy = module("right.cu").get_function("copy")

    def works(number):
        x, out = emulator.asarray(np.full(64, number), "float32"), emulator.empty(64)
        for _ in range(20):
            copy((2,), (32,), (x, out, np.int32(64)))
        return (out == number).all()

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(works, range(8)))


def test_the_time_limit_holds_in_any_thread():
    emulator.settings.seconds = 0.02
    errors = []
    thread = threading.Thread(target=lambda: errors.append(launch_error("loops_for_ever")))
    thread.start()
    thread.join()
    assert "still running" in errors[0]


def test_a_launch_leaves_signals_as_they_were():
    """The time limit takes a signal for the launch's time; and it leaves SIGALRM to others."""
    number, seen = signal.SIGRTMIN + 7, []
    before = signal.signal(number, lambda *_: seen.append("own"))
    alarm = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)[1]
    try:
        emulator.settings.seconds = 0.01
        launch_error("loops_for_ever")
        assert not seen
        signal.raise_signal(number)
        assert seen == ["own"]
        assert alarm == (signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)[1])
    finally:
        signal.signal(number, before)


def test_after_four_billion_barriers_counting_begins_again(rng):
    """Here after some hundreds: what was written stays written, and races are seen as before."""
    soon = mutants.Mutant("", "launch.cpp", "LAST_EPOCH = 3u << 30", "LAST_EPOCH = 300", "")
    with mutants.in_place(soon):
        compiled = emulator.Module(text("right.cu"), name="right.cu")
        x, out = emulator.asarray(rng.random(64), "float32"), emulator.empty((2, 64))
        for _ in range(200):
            compiled.get_function("copy")((2,), (32,), (x, out[0], np.int32(64)))
        assert emulator.unwritten(out) == emulator.unwritten(out[1]) == 256
        with pytest.raises(emulator.KernelError, match="never written"):
            compiled.get_function("copy")((2,), (32,), (out[1], out[0], np.int32(64)))
        with pytest.raises(emulator.KernelError, match="race"):
            compiled.get_function("copy")((2,), (32,), (out[0, :-1], out[0, 1:], np.int32(63)))
