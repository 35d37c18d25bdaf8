"""The stand-in comes and goes."""

import sys

import pytest

from tests.cuda import strict_cupy


def test_what_was_installed_before_is_there_again():
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] in strict_cupy.PACKAGES}
    sys.modules["cupy"] = sys.modules["cupy.fft"] = real = object()
    try:
        with strict_cupy.installed():
            import cupy
            from cupyx.scipy.special import erf

            assert cupy is not real and "cupy.fft" not in sys.modules and callable(erf)
            with pytest.raises(ModuleNotFoundError):
                import cupy.fft  # noqa: F401
        assert sys.modules["cupy"] is sys.modules["cupy.fft"] is real
    finally:
        for name in ("cupy", "cupy.fft"):
            del sys.modules[name]
        sys.modules.update(before)
    assert not any(name.split(".")[0] in strict_cupy.PACKAGES for name in sys.modules.keys() - before.keys())


def test_one_within_another_counts_for_itself():
    with strict_cupy.installed() as outer:
        import cupy

        with strict_cupy.installed() as inner:
            float(cupy.ones(2).sum())
        assert len(inner.syncs) == 1 and not outer.syncs
        cupy.ones(2)
        assert outer.launches
