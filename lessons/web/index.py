"""The list of all pages: each lesson with what it teaches, and what else there is."""

import html
import re
from typing import TYPE_CHECKING

from lessons.cells import Lesson
from lessons.course import length
from lessons.progress import load
from lessons.web import markup

if TYPE_CHECKING:
    from lessons.web.pages import Pages

TITLE, SHORT = "tinygpt, the lessons", "tinygpt"
QUESTION = re.compile(r"\*\*(.+?)\*\*", re.DOTALL)
PICTURE = "pictures/gpt2_shapes.svg"
PICTURED = (
    f'<img src="{PICTURE}" alt="GPT-2 from token ids to the loss, with the shapes of its arrays and the parameters of '
    'every layer">'
)
GROUPS = {  # of the docs; one that is in none of them comes with the last
    "Using it": (
        "README", "docs/using", "docs/data", "docs/checkpoints", "docs/normal", "docs/cuda", "docs/scale", "docs/site",
    ),
    "Is it right, is it fast?": ("docs/gradients", "docs/reliability", "docs/speed", "benchmarks/results/cuda"),
    "How it is built": ("docs/architecture", "docs/log", "CONTRIBUTING", "CHANGELOG"),
}  # fmt: skip
LAST = "How it is built"
HEADINGS = {"README": "tinygpt at a glance", "benchmarks/results/cuda": "Measured on a CUDA card"}


def body(pages: "Pages") -> str:
    """The page's HTML."""
    return f"""<div class="opening">
<div>
<h1>From an array to a GPT that runs on layers you wrote</h1>
<p>{len(pages.lessons)} lessons on <a href="README.html">tinygpt</a>, a GPT in plain array code: from how an array is
added to another up to GPT-2. Each begins with a question. Every gradient is derived by hand, and proven by numerical
derivatives; most lessons then have something for you to write. You need Python and a little calculus.</p>
<p>{_how(pages.live)} <a href="lessons/README.html">How the lessons work</a></p>
</div>
{PICTURED if PICTURE in pages.pictures else ""}
</div>
<h2 id="lessons">The lessons</h2>
<ol class="lessons">{"".join(_row(pages, address, lesson) for address, lesson in pages.lessons.items())}</ol>
{_examples(pages)}
<h2 id="docs">The engine that they build</h2>
<div class="groups">{_documents(pages)}</div>"""


def _how(live: bool) -> str:
    if live:
        return "The cells run here, on your machine; files and progress are those of the terminal."
    return (
        "What the code printed stands below it. To run and change it, and to write your own layers, take the "
        "repository and type <code>python -m lessons web</code>."
    )


def _row(pages: "Pages", address: str, lesson: Lesson) -> str:
    state = pages.course.state(lesson, load(pages.course.work)) if pages.live else ""
    names = [f"<code>{exercise.name}</code>" for exercise in pages.course.of(lesson)]
    asks = f'<p class="small quiet">You write {", ".join(names)}</p>' if names else ""
    facts = " · ".join(filter(None, (length(lesson), state)))
    return (
        f'<li class="{state.replace(" ", "-")}"><span class="number">{lesson.number}</span>'
        f'<div><h3><a href="{address}">{html.escape(lesson.title)}</a></h3> '
        f'<span class="quiet small">{facts}</span>'
        f"<p>{markup.inline(question(lesson))}</p>{asks}</div></li>"
    )


def _examples(pages: "Pages") -> str:
    """The two pages that are drawn by a script, where they are there."""
    says = {
        "step.html": ("One training step, number by number", "Every number of a step of a small GPT: what it was made "
                      "from, what it goes into, and its gradient three ways."),
        "show.html": ("A text as a model sees it", "What the model of lesson 15 expects after each character, and "
                      "where each head looks."),
    }  # fmt: skip
    rows = "".join(
        f'<li><h3><a href="{address}">{name}</a></h3><p>{what}</p></li>'
        for address, (name, what) in says.items()
        if address in pages.number_pages
    )
    return f'<h2 id="numbers">Pages of numbers</h2><ul class="cards">{rows}</ul>' if rows else ""


def _documents(pages: "Pages") -> str:
    left = {address.removesuffix(".html"): path for address, path in pages.documents.items()}
    left.pop("lessons/README", None)  # which stands above
    groups = []
    for group, names in GROUPS.items():
        listed = [name for name in names if name in left]
        listed += sorted(set(left) - {name for names in GROUPS.values() for name in names}) if group == LAST else []
        links = [
            f'<li><a href="{name}.html">{html.escape(HEADINGS.get(name) or markup.title(left[name]))}</a></li>'
            for name in listed
        ]
        groups.append(f"<section><h3>{group}</h3><ul>{''.join(links)}</ul></section>" if links else "")
    return "".join(groups)


def question(lesson: Lesson) -> str:
    """What a lesson asks at its beginning, which is what it teaches, as Markdown."""
    found = QUESTION.findall(lesson.cells[0].text) if lesson.cells else []
    return " ".join(found[0].split()) if found else ""
