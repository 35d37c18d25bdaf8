"""axe finds nothing to mend on the step page: light and dark, on a phone and on a desk, in each of its states."""

import pytest

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


@pytest.mark.parametrize(("width", "dark"), [(390, True), (1440, False)], ids=["dark-390", "light-1440"])
def test_axe_finds_nothing(opened, found, wrong, width, dark):
    for link, clicks in (STATES | RARE).values():
        tab = opened(link, width=width, dark=dark)
        if width == 390 and tab.locator("#panel .bar").count() and not link.startswith("#tour"):
            tab.click("#panel .bar")
        for what in clicks:
            tab.click(what)
        assert found(tab) == [], link
    tab = opened(of=wrong, width=width, dark=dark)
    tab.evaluate("scrollTo(0, 0)")
    assert found(tab) == []
