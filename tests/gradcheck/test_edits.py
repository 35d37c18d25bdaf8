"""A mistake stays applicable whatever a definition's names, comments and lines are, and says so where it is not."""

import ast
import inspect
import io
import itertools
import tokenize

import pytest

from tinygpt.gradcheck.edits import StaleEdit, edited, renamed
from tinygpt.gradcheck.library import FILES, definition
from tinygpt.gradcheck.mutants import MUTANTS, Mutant
from tinygpt.layers import gelu
from tinygpt.own_layers import outcomes

MISTAKES = [*MUTANTS, *(mistake for name in outcomes.FUNCTIONS for mistake in outcomes.mistakes(name))]
SOURCES = {name: inspect.getsource(definition(name)) for name in FILES if name != "model"}
by_layer = pytest.mark.parametrize("layer", SOURCES)


def names_of(layer):
    return getattr(FILES[layer], "NAMES", {})


def mutated(layer, text):
    """By mistake, the tree that it makes of a definition's text."""
    mine = [mistake for mistake in MISTAKES if mistake.source is definition(layer)]
    text = renamed(text, names_of(layer))
    return {mistake.name: ast.dump(edited(text, mistake.edits)) for mistake in mine}


def functions(layer):
    """Of its definition, those whose names the mistakes know."""
    nodes = ast.walk(ast.parse(SOURCES[layer]))
    return [node for node in nodes if isinstance(node, ast.FunctionDef) and node.name in names_of(layer)]


def locals_of(function):
    """As the compiler has them, those of what stands inside the function too."""
    found = []

    def visit(code):
        found.extend(name for name in (*code.co_varnames, *code.co_cellvars) if name.isidentifier())
        for inner in (constant for constant in code.co_consts if inspect.iscode(constant)):
            visit(inner)

    function.decorator_list = []
    visit(next(filter(inspect.iscode, compile(ast.Module([function], []), "", "exec").co_consts)))
    return list(dict.fromkeys(found))


def otherwise(text, names):
    """The text with the locals of each function renamed: names, by function."""
    tree = ast.parse(text)
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        new = names.get(function.name, {})
        for node in ast.walk(function):
            if isinstance(node, ast.Name):
                node.id = new.get(node.id, node.id)
            elif isinstance(node, ast.arg):
                node.arg = new.get(node.arg, node.arg)
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if isinstance(call.func, ast.Name) and call.func.id == function.name:
                for keyword in call.keywords:
                    keyword.arg = new.get(keyword.arg, keyword.arg)
    return ast.unparse(tree)


@by_layer
def test_any_local_may_be_renamed(layer):
    text = SOURCES[layer]
    right = renamed(text, names_of(layer))
    for function in functions(layer):
        for name in locals_of(function):
            other = otherwise(text, {function.name: {name: "called_otherwise"}})
            assert renamed(other, names_of(layer)) == right, (function.name, name)


@by_layer
@pytest.mark.parametrize(
    "rename",
    [
        lambda names: {name: f"{name}_" for name in names},
        lambda names: {name: f"v{len(names) - number}" for number, name in enumerate(names)},
        lambda names: dict(zip(names, [*names[1:], names[0]], strict=True)),
        lambda names: dict(zip(names, itertools.chain("qkvwxdtbcmz", map("n{}".format, range(99))), strict=False)),
    ],
    ids=["underscored", "numbered", "in each other's place", "letters"],
)
def test_all_locals_may_be_renamed_at_once(layer, rename):
    text = SOURCES[layer]
    other = otherwise(text, {function.name: rename(locals_of(function)) for function in functions(layer)})
    assert mutated(layer, other) == mutated(layer, text)


def without_comments(text, instead=""):
    """With another comment in the place of each."""
    lines = text.splitlines(keepends=True)
    for token in reversed(list(tokenize.generate_tokens(io.StringIO(text).readline))):
        if token.type == tokenize.COMMENT:
            (row, start), (_, end) = token.start, token.end
            lines[row - 1] = lines[row - 1][:start] + instead + lines[row - 1][end:]
    return "".join(lines)


def rewrapped(text):
    """Every value of a statement in brackets, and a line broken after every opening bracket."""
    lines = text.splitlines(keepends=True)
    marks = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Assign | ast.AugAssign | ast.Return) and node.value:
            value = node.value
            marks += [(value.lineno, value.col_offset, "("), (value.end_lineno, value.end_col_offset, ")")]
    for row, column, mark in sorted(marks, reverse=True):
        lines[row - 1] = lines[row - 1][:column] + mark + lines[row - 1][column:]
    lines = "".join(lines).splitlines(keepends=True)
    for token in reversed(list(tokenize.generate_tokens(io.StringIO("".join(lines)).readline))):
        if token.type == tokenize.OP and token.string in ("(", "["):
            row, column = token.end
            lines[row - 1] = lines[row - 1][:column] + "\n" + lines[row - 1][column:]
    return "".join(lines)


@by_layer
@pytest.mark.parametrize(
    "change",
    [
        without_comments,
        lambda text: without_comments(text, "# (B, T) -> something else"),
        rewrapped,
        lambda text: ast.unparse(ast.parse(text)),
    ],
    ids=["comments deleted", "comments changed", "lines broken", "one line a statement"],
)
def test_comments_and_lines_do_not_matter(layer, change):
    text = SOURCES[layer]
    assert change(text) != text or "#" not in text
    assert mutated(layer, change(text)) == mutated(layer, text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def f(x):\n    y = 2 * x\n    return y", "y = 3 * x"),
        ("def f(y):\n    x = 2 * y\n    return x", "y = 3 * x"),
        ("def f(x):\n    more = 1\n    y = 2 * x\n    return y", "y = 3 * x"),  # by its own names
    ],
)
def test_names_are_told_by_their_order_where_there_are_as_many(text, expected):
    assert expected in ast.unparse(edited(renamed(text, {"f": "x y"}), [("y = 2 * x", "y = 3 * x")]))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("a * b", "b", "x = b * c"),
        ("... * c", "...", "x = a * b"),
        ("f(a, ...)", "g(...)", "g(b, k=[c])"),
        ("f(...)", "", "pass"),
        ("x = ...", "x = -(...)\nx = 2 * x", "x = -(a * b * c)\nx = 2 * x"),
        ("y['k']", "y['l'][...]", "z = (y['l'][...], \"it's\")"),
        ('"it\'s"', "'its'", "z = (y['k'], 'its')"),
        ("f(a, b, k=[c])\nz = ...", "z = ...", "z = (y['k'], \"it's\")"),
    ],
)
def test_an_edit_is_made_in_the_tree(old, new, expected):
    text = "def d(a, b, c, y):\n    x = a * b * c  # (B, T)\n    f(a, b, k=[c])\n    z = (y['k'], \"it's\")"
    changed = ast.unparse(edited(text, [(old, new)]))
    assert expected.replace("\n", "\n    ") in changed and changed != ast.unparse(ast.parse(text))


@pytest.mark.parametrize(
    ("old", "says"),
    [
        ("no_such(x)", "'no_such(x)' is found 0 times, where once is expected"),
        ("0.044715", "'0.044715' is found 2 times, where once is expected"),
        ("x *", "'x *' is no Python: invalid syntax"),
    ],
)
def test_an_edit_that_does_not_fit_says_so(old, says):
    stale = Mutant("gelu", "stale", "sign", "", ((old, "1"),), gelu)
    with pytest.raises(StaleEdit) as error:
        stale.stand_in()
    assert f"the mistake 'stale' of gelu does not fit tinygpt.layers.gelu any more: {says}; mend" in str(error.value)
