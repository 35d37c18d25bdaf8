"""A reader's own parts of the engine: which there are, how each is checked, and how a model and a run take them in.

    check("layernorm", Path("lessons/work/layernorm.py"))     is it right? and if not, what is wrong?
    mine = load_mine("lessons/work")                          all in a folder that are right
    ops = mine.table(build())                                 the table of layers with these in their places

`parts.py` holds the list of parts and puts them in; `functions.py` checks those that are no layer.
"""

from tinygpt.mine.parts import PARTS, Checked, Mine, Part, check, load_mine

__all__ = ["PARTS", "Checked", "Mine", "Part", "check", "load_mine"]
