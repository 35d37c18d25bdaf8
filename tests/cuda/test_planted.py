"""A bug planted in a kernel is seen; the kernels as they are raise no alarm, in any order of blocks and warps."""

import numpy as np
import pytest

from tests.cuda import strict_cupy
from tests.cuda.planted import Bug, Draw, Wide, found, outcomes, planted, verdict
from tests.layers.implementations import twins
from tinygpt.backend import to_host
from tinygpt.kernels.cuda import compiled

BUGS = [(name, bug) for name, module in found().items() for bug in module.BUGS]
SOME = [  # six of each file, the first and the last among them; `python -m tests.cuda.planted` plants them all
    (name, module.BUGS[n * (len(module.BUGS) - 1) // 5]) for name, module in found().items() for n in range(6)
]
KERNELS = sorted({twin.layer for twin in twins("cuda")} | set(found()))


@pytest.fixture
def cupy(card):
    import cupy

    return cupy


@pytest.mark.parametrize(("name", "bug"), [pytest.param(*x, id=f"{x[0]}: {x[1].title}") for x in SOME])
def test_a_planted_bug_is_seen(name, bug, card, cupy):
    with planted(name, bug):
        seen, sentence = verdict(name, card, cupy)
    assert (seen or "blind") == bug.seen, sentence


@pytest.mark.parametrize("name", KERNELS)
def test_a_right_kernel_raises_no_alarm(name, card, cupy):
    """In an order of its own at every launch; in 50 orders by `python -m tests.cuda.planted`."""
    assert verdict(name, card, cupy) == ("", "")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", KERNELS)
def test_the_order_of_blocks_and_warps_changes_no_bit(name, dtype, card, cupy):
    def ours():
        return [to_host(x) for x, _ in outcomes(name, cupy, dtype, ((Draw, 0), (Wide, 0)))]

    assert strict_cupy.unequal_bits(strict_cupy.in_orders(ours)) == []


def test_every_planted_bug_has_its_place():
    for name, bug in BUGS:
        with planted(name, bug):  # raises ValueError if it has none, or several
            pass


def test_every_file_of_kernels_has_bugs_planted_in_it():
    assert len(SOME) >= 60
    files = {path.stem for path in compiled.FOLDER.glob("*.cu")}
    with_bugs = {bug.file.removesuffix(".cu") or name for name, bug in BUGS}
    assert files <= with_bugs


def test_what_differs_in_a_bit_is_named():
    a, b = np.ones(3), np.array([1, 1, np.nextafter(1, 2)])
    assert strict_cupy.unequal_bits([[a, a], [a, a]]) == []
    assert strict_cupy.unequal_bits([[a, a], [a, b]]) == [1]


def test_a_bug_is_planted_in_one_place_and_gone_afterwards(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "FOLDER", tmp_path)
    (tmp_path / "k.cu").write_text('#include "h.h"\nint a = 1;\nint b = 1;\n', encoding="utf-8")
    (tmp_path / "h.h").write_text("int c = 1;\n", encoding="utf-8")
    right = compiled.source("k.cu")
    for bug, changed in ((Bug("b", "b = 1", "b = 2"), "int b = 2;"), (Bug("c", "1", "2", file="h.h"), "int c = 2;")):
        with planted("k", bug):
            assert changed in compiled.source("k.cu") and compiled.source("k.cu").count("2;") == 1
        assert compiled.source("k.cu") == right
    for count, old in ((0, "c = 1"), (2, "= 1")):
        with pytest.raises(ValueError, match=f"k: k.cu has '{old}' {count} times"), planted("k", Bug("", old, "")):
            pass
