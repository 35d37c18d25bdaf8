"""The pages that are drawn from numbers, for the lessons' own model and text: a training step, and `tinygpt show`. They
take seconds to make; a server has each made once, in a process of its own.
"""

import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from lessons import display, links
from lessons.course import Course
from lessons.page import as_html
from lessons.web.index import TITLE
from lessons.web.lesson_page import page_of
from tinygpt.errors import UserError
from tinygpt.gradcheck.own_process import OwnProcess

INDEX = "index.html", TITLE  # to which they lead back
SHOWN = "The children ask how far it is to the sea."


def step_page(course: Course) -> str:
    """One training step, number by number; what it says of lessons leads to their pages."""
    from tinygpt.recorder import record_step  # here and below, since the list of lessons should not wait for them
    from tinygpt.recorder.data import page_data

    data = page_data(record_step())
    data |= {"lessons": speaking(course, (array["key"] for array in data["arrays"])), "start": None}
    return as_html(data, INDEX)


def speaking(course: Course, keys: Iterable[str]) -> list[dict[str, Any]]:
    """What that page says of the lessons, with the addresses of their pages."""
    lessons = links.backwards(course.lessons.values(), keys)
    return [lesson | {"page": page_of(course.lessons[lesson["number"]])} for lesson in lessons]


def show_page(course: Course) -> str:
    """What the model of lesson 15 makes of a sentence; it is trained now if it has not been yet."""
    from lessons.kit import tiny_gpt
    from tinygpt.observed import observe
    from tinygpt.pages import page
    from tinygpt.pages.show import most_tokens, show_data
    from tinygpt.parallel import blas_threads

    model, tokenizer = tiny_gpt()
    assert tokenizer is not None
    ids = tokenizer.encode(SHOWN)[: most_tokens(model.config)]
    with blas_threads(1), np.errstate(all="ignore"):
        observed = observe(model, ids)
    name = f"the model of lesson 15, {model.config.n_params:,} parameters"
    data = show_data(ids, observed, tokenizer, model.config, name, [])
    return page("show", data, "A text as a model sees it", INDEX)


MAKERS: dict[str, Callable[[Course], str]] = {"step.html": step_page, "show.html": show_page}


class MadeApart:
    """The same pages, each made in a process of its own when it is first asked for, and kept."""

    def __init__(self, course: Course):
        self.course = course
        self.making = threading.Lock()  # whoever asks meanwhile waits for the same
        self.kept: dict[str, bytes] = {}
        self.process: OwnProcess | None = None
        self.is_ended = False

    def page(self, address: str) -> bytes:
        """The page at one of the addresses of `MAKERS`. Raises UserError if it cannot be made."""
        with self.making:
            if address not in self.kept:
                self.kept[address] = self._made(address)
            return self.kept[address]

    def end(self) -> None:
        """End what is being made."""
        self.is_ended = True
        if process := self.process:
            process.end()

    def _made(self, address: str) -> bytes:
        if self.is_ended:
            raise UserError("the server ends")
        settings = {"folder": str(self.course.folder), "address": address}
        try:
            with OwnProcess(__name__, settings) as self.process:
                content = self.process.popen.stdout.read()  # type: ignore[union-attr]
                if self.process.status() == 0:
                    return content
        except OSError as error:
            raise UserError(f"{address} could not be made: {error.strerror or error}") from error
        finally:
            self.process = None
        raise UserError(f"{address} could not be made; what is wrong is said by: {self.course.command('page')}")


def serve(settings: dict[str, Any]) -> None:
    """Write a page to the standard output. settings: "folder", of the lessons, and "address", of the page."""
    folder = Path(settings["folder"])
    course = Course(folder, folder / "work", display.make_console(False))
    sys.stdout.buffer.write(MAKERS[settings["address"]](course).encode())
