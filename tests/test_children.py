"""No test waits for ever: the programs that tests start hear Ctrl-C, and are ended if they do not end by themselves."""

import ast
import signal
import sys
import time
from pathlib import Path

import pytest

from tests import children

HERE = Path(__file__).parent
TESTS = sorted(path for path in HERE.rglob("*.py") if path.stem != "children")
HARMLESS = "DEVNULL", "PIPE", "STDOUT", "TimeoutExpired", "CalledProcessError"
FOREVER = "import time; print('here', flush=True); time.sleep(1000)"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send to another process")
def test_a_program_hears_ctrl_c_though_whoever_started_the_tests_ignores_it():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as `nohup` and `sh -c 'python -m pytest &'` have it
    try:
        children.give_default_signals()
        with children.started("-c", FOREVER) as process:
            assert process.stdout.readline() == "here\n"
            process.send_signal(signal.SIGINT)
            assert "KeyboardInterrupt" in process.communicate()[1]
        signal.raise_signal(signal.SIGINT)  # the tests themselves go on ignoring it
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_program_that_never_ends_is_ended_and_its_test_fails():
    began = time.monotonic()
    with pytest.raises(pytest.fail.Exception, match="sleep.* had not ended after 0.5 s"):
        children.run("-c", FOREVER, seconds=0.5)
    assert time.monotonic() - began < 60


def test_what_it_started_is_ended_with_it():
    """A grandchild that holds the pipe would keep a reader waiting."""
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {FOREVER!r}])"
    with children.started("-c", parent) as process:
        assert process.stdout.readline() == "here\n"
        stdout, process.stdout = process.stdout, None
    with stdout:
        assert stdout.read() == ""


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(HERE)))
def test_tests_start_programs_in_no_other_way(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "subprocess":
            assert node.attr in HARMLESS, f"line {node.lineno}: subprocess.{node.attr}"
