"""All open pages of the lessons, by a name that only each of them knows."""

import secrets
import threading
import time
from collections.abc import Callable

from lessons.web.tab import Tab

LEAVES = 0.5  # seconds in which a page that is loaded anew says that it was left, which may come after that


class Left(Exception):
    """A page was left for so long that nothing stands behind it any more."""


class Tabs:
    """The open pages."""

    def __init__(self) -> None:
        self.tabs: dict[str, Tab] = {}
        self.lock = threading.Lock()

    def open(self, name: str, lesson: int, make: Callable[[], Tab]) -> tuple[str, Tab]:
        """The name of a page's tab, and the tab: that which it had before it was loaded anew, or a new one. A page
        whose name is another's too, as that of a tab that was copied, gets its own.
        """
        until = time.monotonic() + LEAVES
        while True:
            with self.lock:
                tab = self.tabs.get(name)
                if not tab or tab.lesson.number != lesson or time.monotonic() > until:
                    name = secrets.token_urlsafe(9)
                    self.tabs[name] = tab = make()
                    return name, tab
                if tab.left:
                    tab.left = False
                    return name, tab
            time.sleep(0.02)

    def __getitem__(self, name: str) -> Tab:
        """The tab of a name. Raises Left where there is none any more."""
        with self.lock:
            if name not in self.tabs:
                raise Left("this page was left for some time, and its process was ended; load it anew")
            return self.tabs[name]

    def sweep(self) -> None:
        """End what nobody looks at any more."""
        with self.lock:
            gone = [self.tabs.pop(name) for name, tab in list(self.tabs.items()) if tab.gone]
        for tab in gone:
            tab.end()

    def end(self) -> None:
        """End all."""
        with self.lock:
            tabs = list(self.tabs.values())
            self.tabs.clear()
        for tab in tabs:
            tab.end()
