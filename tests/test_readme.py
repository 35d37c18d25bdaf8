"""What README.md and the other pages say is run, or compared with what is run."""

import fnmatch
import functools
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from tests import children
from tinygpt.cli import main

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted(ROOT.glob("C*.md")), *sorted((ROOT / "docs").glob("*.md")), ROOT / "lessons" / "README.md"]
TEXT = Path(__file__).with_name("memorised.txt")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(
    r"(?:^|&& )(?:(?:mpiexec|srun) [^\n]*? )?"
    r"(tinygpt [a-z]+|python train\.py|python [a-z]+/\w+\.py|python -m lessons [a-z]+|python -m [\w.]+)\b"
    r"([^\n#|]*)",
    re.MULTILINE,
)


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    """The page's blocks of code in a language, "" for those without."""
    return [code for marked, code in FENCED.findall(read(page)) if marked == language]


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return FENCED.sub("", read(page))


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def run(*arguments: str | Path) -> str:
    done = children.run(*arguments, cwd=ROOT, encoding="utf-8", seconds=250)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readme_takes_two_minutes():
    assert len(read(README).splitlines()) <= 150


# Python


def test_the_loop_in_the_readme_is_the_example_which_learns():
    code = read(ROOT / "examples" / "loop.py")
    assert len(code.splitlines()) <= 30
    assert blocks(README, "python") == [code.split('"""\n\n', 1)[1]]
    losses = [float(loss) for loss in re.findall(r"loss (\S+)", run("examples/loop.py"))]
    assert losses[-1] < 2.6 < 4 < losses[0]  # nats per character of 97


def test_a_layer_of_ones_own_is_proven_and_learns():
    output = run("examples/own_layer.py")
    assert "right" in output and "WRONG" not in output
    assert all(float(loss) < 3 for loss in re.findall(r"loss (\S+)", output))


@pytest.mark.parametrize("page", [page for page in PAGES[1:] if blocks(page, "python")], ids=name)
def test_the_python_examples_of_a_page_run_one_after_the_other(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = "--n_layer=1 --n_head=2 --n_embd=16 --block_size=8 --batch_size=4 --max_iters=2 --eval_iters=1 --device=cpu"
    assert main(["train", f"--data={TEXT}", *flags.split()]) == 0  # the run in out/ that the examples load
    names: dict = {}
    for block in blocks(page, "python"):
        exec(compile(block, name(page), "exec"), names)
    assert np.isfinite(names["loss"]) and names["grads"].keys() == names["model"].params.keys()
    assert isinstance(names["text"], str)


# Commands


def test_the_broken_line_is_diagnosed_as_the_readme_shows(tmp_path, monkeypatch, capsys):
    (_, expression, source, _, copy), (_, *command) = map(shlex.split, blocks(README, "sh")[0].splitlines())
    _, pattern, replacement, _ = expression.split("/")  # a pattern that means the same to sed
    code = read(ROOT / source)
    broken = re.sub(pattern, replacement, code)
    (line,) = set(code.splitlines()) - set(broken.splitlines())
    assert f"`{line.strip()}`" in read(README)
    (tmp_path / copy).write_text(broken, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert main(command) == 1
    assert set(blocks(README, "")[0].splitlines()) - {"..."} <= set(capsys.readouterr().out.splitlines())


def commands() -> dict[str, set[str]]:
    """Each command on the pages, such as "tinygpt sample", and the flags that it is shown with."""
    found: dict[str, set[str]] = {}
    for page in PAGES:
        for code in (*blocks(page, "sh"), *re.findall(r"`([^`]+)`", prose(page))):
            for command, rest in COMMAND.findall(code):
                found.setdefault(command, set()).update(re.findall(r"--[\w-]+", rest))
    return found


@functools.cache
def usage(command: str) -> str:
    return run(*command.replace("tinygpt ", "-m tinygpt ").removeprefix("python ").split(), "--help")


@pytest.mark.parametrize("command, flags", commands().items(), ids=commands())
def test_every_command_exists_with_its_flags(command, flags):
    assert {flag for flag in flags if not re.search(rf"{flag}[ =]", usage(command))} == set()


def test_every_flag_in_a_sentence_exists():
    known = "".join(map(usage, commands()))
    for page in PAGES:
        for flag in re.findall(r"`(--[\w-]+)", prose(page)):
            assert re.search(rf"{flag}[ ,\]]", known), f"{name(page)}: {flag}"


def test_ci_runs_the_readmes_test_command():
    command = next(line for block in blocks(README, "sh") for line in block.splitlines() if "pytest" in line)
    assert command == "pip install -e '.[test]' && python -m pytest -n 2 --dist loadfile"
    assert command in read(ROOT / ".ci" / "run")


def test_every_extra_that_a_page_installs_exists():
    known = read(ROOT / "pyproject.toml")
    for page in PAGES:
        for extras in re.findall(r"pip install -e '\.\[([\w,]+)\]'", read(page)):
            for extra in extras.split(","):
                assert f"\n{extra} = [" in known, extra


def test_nothing_tells_a_reader_to_install_tinygpt_from_an_index():
    """No index has one of ours: whoever takes the name there would be installed."""
    rooms = [ROOT / room for room in ("tinygpt", "lessons", "examples", "benchmarks", "tests")]
    for path in [*PAGES, *(path for room in rooms for path in room.rglob("*.py"))]:
        told = re.search(r"pip install [^`\n]*?\btinygpt(?=[\['\" `=]|$)", read(path), flags=re.MULTILINE)
        assert not told, f"{name(path)}: {told[0]}"


# Files and links


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\((?!https:)([^)\s]+)\)", read(page)):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_file_that_a_page_names_exists(page):
    for path in re.findall(r"(?<![\w./])(?:tinygpt|examples|docs|tests|benchmarks)/[\w./]*", read(page)):
        to_be_written = "NAME" in path or "rmsnorm" in path
        assert to_be_written or (ROOT / path.rstrip(".")).exists(), path


def test_every_room_of_the_readmes_tree_exists():
    (tree,) = [block for block in blocks(README, "") if block.startswith("tinygpt/\n")]
    for line in tree.splitlines():
        path = line.split()[0]
        assert (ROOT / "tinygpt" / path if line.startswith(" ") else ROOT / path).exists(), path


def test_a_file_above_400_lines_has_a_reason():
    _, section = read(ROOT / "docs" / "architecture.md").split("## Files above 400 lines\n")
    listed = re.findall(r"^- `([^`]+)`: \S", section, flags=re.MULTILINE)
    lessons = ROOT / "lessons"  # of whose other folders one is what a reader writes
    sources = [*lessons.glob("*.py"), *(lessons / "web").glob("*.*")]
    sources += [
        path
        for folder in ("tinygpt", "examples", "pictures", "tests", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
    ]
    long = {path.relative_to(ROOT).as_posix() for path in sources if len(read(path).splitlines()) > 400}
    reasons = {pattern: set(fnmatch.filter(long, pattern)) for pattern in listed}
    assert long - set().union(*reasons.values()) == set()
    assert [pattern for pattern, matched in reasons.items() if not matched] == []  # reasons that are needed no more
