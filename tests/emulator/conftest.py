import pytest

from tinygpt import emulator


@pytest.fixture(autouse=True)
def can_run_here():
    if why := emulator.missing():
        pytest.skip(f"they need the emulator of CUDA C, and {why}")


@pytest.fixture(autouse=True)
def own_settings(monkeypatch):
    """Every test begins with the same settings and may change them."""
    for name in ("seed", "profile", "seconds"):
        monkeypatch.setattr(emulator.settings, name, getattr(emulator.Settings, name))
