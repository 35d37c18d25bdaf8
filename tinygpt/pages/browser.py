"""Asking a browser to show a page."""

import contextlib
import os


def opened(address: str) -> bool:
    """Whether a browser was asked to show it: one with a window, since a terminal's has no JavaScript."""
    import webbrowser  # here, since no command should wait for it that does not ask

    with contextlib.suppress(webbrowser.Error, OSError):
        browser = webbrowser.get()
        in_terminal = type(browser) is webbrowser.GenericBrowser and not os.environ.get("BROWSER")
        return not in_terminal and browser.open(address)
    return False
