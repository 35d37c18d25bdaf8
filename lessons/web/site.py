"""`python -m lessons site`: all pages written into a folder, to be read from there or from any server of files."""

from pathlib import Path

from lessons import display
from lessons.course import Course
from lessons.web import markup
from lessons.web.lesson_page import Ran
from lessons.web.lesson_runs import Outcomes, run_all
from lessons.web.number_pages import MAKERS
from lessons.web.pages import Pages
from lessons.web.site_folder import files_of, write
from tinygpt.errors import UserError
from tinygpt.files import expanded
from tinygpt.run.waiting import Waiting

NO_JEKYLL = ".nojekyll"  # tells GitHub Pages to give the folder out as it is
PLACE = Path("out", "site")  # in the lessons' folder


def site(course: Course, folder: str | None) -> int:
    """Run all lessons, write all pages into the folder, and say where they are; the status is 1 if a cell of one did
    not come to its end.
    """
    if folder is not None and folder.isdecimal():
        raise UserError(
            f"a site has all lessons in it, and takes a folder; for one that is called {folder}: "
            f"{course.command('site', f'./{folder}')}"
        )
    path = course.folder / PLACE if folder is None else Path(expanded(folder))
    taken = files_of(path)
    with Waiting():
        ran, wrong = run_all(list(course.lessons.values()))
        files = contents_of(Pages(course, number_pages=MAKERS), ran)
    write(path, files, taken)
    for sentence in wrong:
        course.say(f"error: {sentence}", style="red")
    say(course, path, files)
    return 1 if wrong else 0


def say(course: Course, folder: Path, files: dict[str, bytes]) -> None:
    """Where the site is, how large, and how to look at it."""
    megabytes = sum(map(len, files.values())) / 1e6
    pages = sum(name.endswith(".html") for name in files)
    course.say(f"{display.shown_path(folder)}: {pages} pages, {megabytes:.1f} MB in {len(files)} files.")
    course.say("To look at it, open this in a browser:")
    course.console.print((folder / "index.html").absolute().as_uri(), soft_wrap=True)
    course.say("Any server of files can give it to others: docs/site.md.")


def contents_of(pages: Pages, ran: dict[int, Outcomes]) -> dict[str, bytes]:
    """Every file of the site by its address. ran: what came of each lesson's cells."""
    files: dict[str, bytes] = {}
    for address in pages.addresses():
        lesson = pages.lessons.get(address)
        if lesson is None:
            _, files[address] = pages.content(address) or ("", b"")
            continue
        outcomes: dict[int, Ran] = {}
        for index, (printed, trouble) in ran.get(lesson.number, {}).items():
            plots = []
            for path in markup.drawn(printed, pages.root):
                files[f"plots/{path.name}"] = path.read_bytes()
                plots.append((markup.plot_name(path), f"plots/{path.name}"))
            outcomes[index] = Ran(printed, trouble, tuple(plots))
        files[address] = pages.lesson(address, outcomes).encode()
    files[NO_JEKYLL] = b""
    return files
