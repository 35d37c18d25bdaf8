"""Two "hosts" on one machine: network namespaces with a wire between them, over which MPI must speak TCP.

Each has a network, a name and a /sys of its own; the files are shared. They have no names of their own in the system:
a process that reads until its input ends holds each, so they are gone when whoever made them is, however it ended.
It takes Linux, root, iproute2, util-linux, and MPICH's mpiexec (Hydra).
"""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ADDRESSES = "10.0.0.1", "10.0.0.2"  # within the two; nobody else sees them
WIRE = "wire"
TCP = {  # else MPICH would find that both have the same memory, and the wire would stay empty
    "UCX_TLS": "tcp,self", "UCX_NET_DEVICES": WIRE, "MPIR_CVAR_NOLOCAL": "1", "MPIR_CVAR_CH4_SHM_ENABLE": "0",
}  # fmt: skip
BURST = "80kb"  # that passes at once: more than the largest packet between namespaces
UP = 10  # seconds that a wire may take to come up; it takes one


class NoHosts(Exception):
    """Why there can be no two hosts here, in a sentence."""


def mpiexec() -> str:
    """Where it is: that of this Python before any other. Raises NoHosts where there is none, or it is not MPICH's."""
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        raise NoHosts("there is no mpiexec; pip install -e '.[mpich]' brings one")
    said = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=30).stdout
    if "HYDRA" not in said:
        raise NoHosts(f"{found} is not MPICH's, and only that one is known to be led from host to host here")
    return found


class Hosts:
    """Two hosts and their wire; `two_hosts` makes and ends them."""

    def __init__(self, holders: list[int], launcher: str, mpiexec: str):
        self._holders, self._launcher, self._mpiexec = holders, launcher, mpiexec

    def at(self, host: int, *command: str) -> list[str]:
        """The command that runs `command` on host 0 or 1."""
        return ["nsenter", f"--target={self._holders[host]}", "--net", "--uts", "--mount", *command]

    def mpiexec(self) -> list[str]:
        """The start of a command that has a rank on each host; TCP belongs in its environment."""
        return self.at(
            0, self._mpiexec, "-launcher", "ssh", "-launcher-exec", self._launcher, "-hosts", ",".join(ADDRESSES),
            "-n", str(len(ADDRESSES)),
        )  # fmt: skip

    def limit(self, rate: str) -> None:
        """Let no more pass in either direction than so much, as tc writes it, such as "100mbit"."""
        for host in range(len(ADDRESSES)):
            _do(*self.at(host, "tc", "qdisc", "replace", "dev", WIRE, "root", "tbf", "rate", rate, "burst", BURST,
                         "latency", "400ms"))  # fmt: skip

    def sent(self) -> list[int]:
        """Bytes that each has put on the wire so far, by the counters of its end of it."""
        counters = (Path(f"/proc/{holder}/net/dev").read_text() for holder in self._holders)
        (first, second) = (line for text in counters for line in text.splitlines() if line.strip().startswith(WIRE))
        return [int(line.partition(":")[2].split()[8]) for line in (first, second)]


@contextlib.contextmanager
def two_hosts() -> Iterator[Hosts]:
    """Raises NoHosts where they cannot be made."""
    if sys.platform != "linux" or os.geteuid() != 0:
        raise NoHosts("two hosts are network namespaces, which take Linux, and root")
    if lacking := [program for program in ("ip", "tc", "unshare", "nsenter") if not shutil.which(program)]:
        raise NoHosts(f"{lacking[0]} is not installed (ip and tc are iproute2's, unshare and nsenter util-linux's)")
    launcher = mpiexec()
    with contextlib.ExitStack() as stack:
        holders = [stack.enter_context(_held(f"host-{number}")) for number in (1, 2)]
        hosts = Hosts(holders, stack.enter_context(_script(holders[1])), launcher)
        _do(*hosts.at(0, *f"ip link add {WIRE} type veth peer name {WIRE} netns {holders[1]}".split()))
        for host, address in enumerate(ADDRESSES):
            _do(*hosts.at(host, *f"ip address add {address}/24 dev {WIRE}".split()))
            for device in ("lo", WIRE):
                _do(*hosts.at(host, "ip", "link", "set", device, "up"))
        state = [Path(f"/proc/{holder}/root/sys/class/net/{WIRE}/operstate") for holder in holders]
        late = time.monotonic() + UP
        while {path.read_text() for path in state} != {"up\n"}:
            if time.monotonic() > late:
                raise NoHosts(f"the wire between two network namespaces was not up after {UP} s")
            time.sleep(0.01)
        yield hosts


@contextlib.contextmanager
def _held(name: str) -> Iterator[int]:
    """A host, by the id of the process that holds it."""
    inside = f"mount -t sysfs sysfs /sys && hostname {name} && echo held && exec cat >/dev/null"
    command = ["unshare", "--net", "--uts", "--mount", "sh", "-c", inside]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, text=True) as holder:
        assert holder.stdin and holder.stdout and holder.stderr
        if holder.stdout.readline() != "held\n":
            raise NoHosts(f"network namespaces are not allowed here ({holder.stderr.read().strip()})")
        try:
            yield holder.pid
        finally:
            holder.stdin.close()


@contextlib.contextmanager
def _script(holder: int) -> Iterator[str]:
    """What Hydra starts the second host's part of a run with, as it would with `ssh -x ADDRESS COMMAND`. A file in
    memory, which goes with this process.
    """
    with open(os.memfd_create("to-host-2"), "w") as file:
        file.write(f'#!/bin/sh\nshift 2\nexec nsenter --target={holder} --net --uts --mount sh -c "$*"\n')
        file.flush()
        yield f"/proc/{os.getpid()}/fd/{file.fileno()}"


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    if done.returncode:
        raise NoHosts(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
