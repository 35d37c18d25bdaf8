"""What is compiled is kept, for its owner alone, whole or not at all."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from tinygpt import emulator
from tinygpt.emulator import compiling
from tinygpt.errors import UserError

SOURCE = 'extern "C" __global__ void kernel(float* x) { x[0] = NUMBER; }\n'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A cache of its own, with the runtime's library at hand. The names of what is compiled into it."""
    emulator.empty(1)
    monkeypatch.setenv("TINYGPT_CACHE", str(tmp_path))
    return tmp_path / "emulator"


@pytest.fixture
def commands(monkeypatch):
    """What g++ was asked for."""
    asked, run = [], compiling._run
    monkeypatch.setattr(compiling, "_run", lambda command, folder: (asked.append(command), run(command, folder)))
    return asked


def value(number=1, source=SOURCE, **more):
    x = emulator.empty(1)
    emulator.Module(source, [f"-DNUMBER={number}"], **more).get_function("kernel")((1,), (1,), (x,))
    return x[0]


def test_what_was_compiled_is_not_compiled_again(folder, commands):
    assert value() == value() == 1
    assert len(commands) == 2  # compiled and linked


@pytest.mark.parametrize("change", ["text", "options", "name", "checks", "header", "g++"])
def test_a_change_is_compiled(folder, commands, monkeypatch, change):
    value()
    if change == "header":
        headers = compiling._headers
        monkeypatch.setattr(compiling, "_headers", lambda *given: [*headers(*given), "changed"])
    if change == "g++":
        monkeypatch.setattr(compiling, "version", lambda: "g++ 99")
    changed = {
        "text": {"source": SOURCE + "\n"},
        "options": {"number": 2},
        "name": {"name": "other.cu"},
        "checks": {"checks": False},
    }
    assert value(**changed.get(change, {})) == (2 if change == "options" else 1)
    assert len(commands) == 4


def test_every_header_that_a_kernel_sees_is_part_of_the_key():
    unit = compiling.Unit("kernel.cu", SOURCE, ("-include", "device.h"))
    seen = compiling._headers([compiling.HERE], unit.text, ["device.h"])
    names = {"device.h", "calls.h", "types.h", "bfloat16.h", "mathematics.h", "tensor_cores.h", "entry.h"}
    assert set(seen) == {(compiling.HERE / name).read_text() for name in names}


def test_a_change_of_ones_own_header_is_compiled(folder, commands, tmp_path):
    source = '#include "number.h"\n' + SOURCE
    for number in (1, 2):
        (tmp_path / "number.h").write_text(f"#undef NUMBER\n#define NUMBER {number}\n")
        x = emulator.empty(1)
        emulator.Module(source, [f"--include-path={tmp_path}"]).get_function("kernel")((1,), (1,), (x,))
        assert x[0] == number


@pytest.mark.parametrize("option", ["-DNUMBER=4", "--define-macro=NUMBER=4"])
def test_options_of_a_card_are_left_out(option):
    x = emulator.empty(1)
    module = emulator.Module(SOURCE, [option, "--std=c++17", "-lineinfo", "--use_fast_math"])
    module.get_function("kernel")((1,), (1,), (x,))
    assert x[0] == 4


def test_the_folder_is_its_owners_alone(folder):
    before = os.umask(0)
    try:
        value()
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not list(folder.glob(".*"))  # nothing half written


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o755])
def test_a_folder_open_to_others_is_refused(folder, mode):
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(UserError, match="is open to others"):
        value()


def test_a_folder_of_another_user_is_refused(folder, monkeypatch):
    value()
    owner = os.getuid()
    monkeypatch.setattr(compiling.os, "getuid", lambda: owner + 1)
    with pytest.raises(UserError, match="belongs to another user"):
        compiling.private_folder()


def test_a_link_in_the_folders_place_is_refused(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is not a folder"):
        value()


@pytest.mark.parametrize("damage", [b"", b"half", "cut", "flipped"])
def test_a_damaged_library_is_compiled_anew(folder, commands, damage):
    value()
    for path in folder.glob("*.so"):
        content = path.read_bytes()
        cut, flipped = content[: len(content) // 2], content[:5000] + bytes([content[5000] ^ 1]) + content[5001:]
        path.unlink()  # this process has it open
        path.write_bytes({"cut": cut, "flipped": flipped}.get(damage, damage))
    assert value() == 1
    assert len(commands) == 3  # linked again, from the object file that is whole


def test_several_compile_the_same_at_once(folder):
    with ThreadPoolExecutor(4) as threads:
        paths = set(threads.map(lambda _: emulator.Module(SOURCE, ["-DNUMBER=3"]).path, range(4)))
    (path,) = paths
    assert compiling.is_whole(path)


def test_what_was_not_used_for_longest_goes(folder, monkeypatch):
    value()
    monkeypatch.setattr(compiling, "LIMIT", 3000)
    for number in range(5):
        (folder / f"{number}.so").write_bytes(bytes(1000))
        os.utime(folder / f"{number}.so", (number, number))
    compiling.make_room(folder)
    left = {path.name for path in folder.iterdir()}
    assert not {f"{number}.so" for number in range(5)} & left
    assert len(left) == 2  # what is in use stays, whatever its size


def test_within_the_limit_everything_stays(folder):
    folder.mkdir(mode=0o700)
    (folder / "old.so").write_bytes(bytes(1000))
    os.utime(folder / "old.so", (1, 1))
    compiling.make_room(folder)
    assert (folder / "old.so").exists()


def test_nothing_is_kept_of_a_text_that_is_refused(folder):
    with pytest.raises(emulator.KernelError, match="g\\+\\+ refuses the kernel"):
        value(number="nothing")
    assert not list(folder.iterdir())


# What is missing


@pytest.fixture
def asked_anew():
    compiling.missing.cache_clear()
    yield
    compiling.missing.cache_clear()


def test_nothing_is_missing_here(asked_anew):
    assert emulator.missing() is None


@pytest.mark.parametrize("program", ["g++", "nm", "addr2line"])
def test_a_program_that_is_missing(asked_anew, monkeypatch, program):
    monkeypatch.setattr(compiling.shutil, "which", lambda name: None if name == program else f"/usr/bin/{name}")
    assert emulator.missing().startswith(f"there is no {program}, which ")


@pytest.mark.parametrize(("answer", "said"), [("11.4.0\n", "g++ 11.4.0 is too old"), ("", "of no known version")])
def test_a_compiler_that_is_too_old(asked_anew, monkeypatch, answer, said):
    monkeypatch.setattr(compiling.subprocess, "run", lambda *a, **k: SimpleNamespace(stdout=answer))
    assert said in emulator.missing()


@pytest.mark.parametrize(("system", "machine"), [("darwin", "arm64"), ("win32", "AMD64"), ("linux", "aarch64")])
def test_another_machine(asked_anew, monkeypatch, system, machine):
    monkeypatch.setattr(compiling.sys, "platform", system)
    monkeypatch.setattr(compiling.platform, "machine", lambda: machine)
    assert emulator.missing() == f"the emulator runs on Linux on x86-64, and this is {system} on {machine}"


def test_another_c_library(asked_anew, monkeypatch):
    monkeypatch.setattr(compiling.platform, "libc_ver", lambda: ("", ""))
    assert emulator.missing().startswith("the emulator needs glibc")


def test_a_kernel_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(emulator.runtime, "_current", [])
    monkeypatch.setattr(emulator.runtime, "missing", lambda: "there is no g++")
    with pytest.raises(emulator.KernelError, match="CUDA kernels cannot be emulated here: there is no g\\+\\+"):
        emulator.Module(SOURCE)
    assert np.array_equal(emulator.runtime._current, [])
