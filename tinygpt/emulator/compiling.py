"""g++, and what it made: object files and libraries in a private folder of the cache, each whole or not there."""

import functools
import hashlib
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tinygpt.emulator.errors import KernelError
from tinygpt.errors import UserError
from tinygpt.files import cache_folder, write_atomically

HERE = Path(__file__).resolve().parent
OLDEST = 12  # of g++: the first to fill what is not initialised with a pattern
LIMIT = 512 << 20  # bytes of the folder; beyond it, what was not used for longest goes
IN_USE = 3600.0  # seconds: but nothing that was used since
DIGEST = 32  # bytes, a SHA-256 at the end of every entry. Neither the linker nor the loader looks there


@functools.cache
def missing() -> str | None:
    """Why kernels cannot be run here, in a sentence; None if they can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"the emulator runs on Linux on x86-64, and this is {sys.platform} on {platform.machine()}"
    if platform.libc_ver()[0] != "glibc":
        return "the emulator needs glibc, the GNU C library, whose contexts its threads run in"
    for program, what in (("g++", "compiles kernels"), ("nm", "names variables"), ("addr2line", "finds lines")):
        if not shutil.which(program):
            return f"there is no {program}, which {what}"
    answer = subprocess.run(["g++", "-dumpfullversion", "-dumpversion"], capture_output=True, text=True).stdout.strip()
    if not re.match(r"\d+", answer) or int(answer.split(".")[0]) < OLDEST:
        return f"g++ {answer or 'of no known version'} is too old: version {OLDEST} or later is needed"
    return None


@functools.cache
def version() -> str:
    """What g++ says of itself."""
    return subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]


# What is compiled


class Unit(NamedTuple):
    """A text that becomes an object file."""

    name: str
    text: str
    flags: tuple[str, ...]

    @property
    def key(self) -> str:
        """The name of what becomes of it: of the texts, the flags and the compiler."""
        included = re.findall(r"^-include\n(.*)$", "\n".join(self.flags), flags=re.M)
        folders = [HERE, *(Path(flag[2:]) for flag in self.flags if flag.startswith("-I"))]
        headers = _headers(folders, self.text, included)
        return _digest([self.name, self.text, *self.flags, str(HERE), *headers, version()])

    def compiled(self) -> Path:
        def make(folder: Path) -> Path:
            name = Path(self.name).name
            (folder / name).write_text(self.text, encoding="utf-8")
            _run(["g++", "-x", "c++", *self.flags, f"-I{HERE}", "-c", name, "-o", "unit.o"], folder)
            return folder / "unit.o"

        return entry(f"{self.key}.o", make)


def library(units: Sequence[Unit], links: Callable[[], Iterable[str]] = tuple, of: str = "") -> Path:
    """A shared library of these, which bears its file's name. links: what else the linker is given, asked only if it
    must be linked; of: what that depends on.
    """
    name = _digest([*(unit.key for unit in units), of]) + ".so"

    def make(folder: Path) -> Path:
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            objects = list(threads.map(Unit.compiled, units))
        # -z defs: what the library calls must be there
        flags = ["-shared", f"-Wl,-soname,{name}", "-Wl,-z,defs"]
        _run(["g++", *flags, "-o", "unit.so", *map(str, objects), *links()], folder)
        return folder / "unit.so"

    return entry(name, make)


def _headers(folders: Sequence[Path], text: str, included: Iterable[str]) -> list[str]:
    """The texts of the headers in these folders that a text includes, and that those include."""
    pattern = re.compile(r"#\s*include\s*[\"<]([^\">]+)[\">]")
    texts: dict[Path, str] = {}
    waiting = [*pattern.findall(text), *included]
    while waiting:
        name = waiting.pop(0)
        path = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if path and path not in texts:
            texts[path] = path.read_text(encoding="utf-8")
            waiting += pattern.findall(texts[path])
    return list(texts.values())


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _run(command: Sequence[str], folder: Path) -> None:
    in_english = os.environ | {"LC_ALL": "C"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", env=in_english)
    if done.returncode:
        raise KernelError("g++ refuses the kernel:\n" + done.stderr)


# Where it is kept


def private_folder() -> Path:
    """The folder of libraries, which run with all rights of whoever loads them: nobody else may write there."""
    folder = cache_folder() / "emulator"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise UserError(f"{folder} is not a folder; remove it")
    if found.st_uid != os.getuid():
        raise UserError(f"the folder {folder} belongs to another user; set TINYGPT_CACHE to a folder of your own")
    if found.st_mode & 0o077:
        raise UserError(f"the folder {folder} is open to others, and what is in it may be theirs; remove it")
    return folder


def entry(name: str, make: Callable[[Path], Path]) -> Path:
    """The file of this name, as it was kept or as `make(folder)` makes it in a folder of its own."""
    path = private_folder() / name
    if is_whole(path):
        os.utime(path)  # it is in use
        return path
    with tempfile.TemporaryDirectory() as folder:
        content = make(Path(folder)).read_bytes()
    write_atomically(path, content + hashlib.sha256(content).digest())
    make_room(path.parent)
    return path


def is_whole(path: Path) -> bool:
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return hashlib.sha256(content[:-DIGEST]).digest() == content[-DIGEST:]


def make_room(folder: Path) -> None:
    """Remove what was not used for longest until the folder is within its limit."""
    found = []
    for path in folder.iterdir():
        try:
            found.append((path.stat().st_mtime, path.stat().st_size, path))
        except FileNotFoundError:  # another process removed it
            continue
    size = sum(entry[1] for entry in found)
    for used, bytes_, path in sorted(found):
        if size <= LIMIT or time.time() - used < IN_USE:
            return
        path.unlink(missing_ok=True)
        size -= bytes_
