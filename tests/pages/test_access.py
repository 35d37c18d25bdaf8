"""axe finds nothing to mend on the step page: light and dark, on a phone and on a desk, in each of its states."""

import pytest

from tests.pages.conftest import NEEDED

STATES = {
    "start": ("", []),
    "chosen": ("#h.0.attn/scores[0,1,3,2]", []),
    "tour": ("#tour-5", []),
}
RARE = {
    "backward, and a table": ("#h.0.attn/dk[0,0,1,2]", ["#panel .whole summary"]),
    "update": ("#tour-10", []),
    "keys": ("", ["#legend button"]),
    "wrong link, and lessons": ("#nothing", ["#lessons summary"]),
}


@pytest.fixture(scope="module")
def axe():
    return pytest.importorskip("axe_playwright_python.sync_playwright", reason=NEEDED).Axe()


def found(axe, tab):
    """What axe has against a page, a line each."""
    return [
        f"{violation['id']}: {node['html'][:150]} {node['any'][:1]}"
        for violation in axe.run(tab).response["violations"]
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing(opened, axe, wrong, width, dark):
    rest = RARE if dark == (width == 390) else {}  # once dark, once light
    for link, clicks in (STATES | rest).values():
        tab = opened(link, width=width, dark=dark)
        if width == 390 and tab.locator("#panel .bar").count() and not link.startswith("#tour"):
            tab.click("#panel .bar")
        for what in clicks:
            tab.click(what)
        assert found(axe, tab) == [], link
    tab = opened(of=wrong, width=width, dark=dark)
    tab.evaluate("scrollTo(0, 0)")
    assert found(axe, tab) == []
