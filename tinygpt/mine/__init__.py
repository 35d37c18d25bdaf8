"""A reader's own parts of the engine: which there are, how each is checked, and how a model and a run take them in.

    check("layernorm", Path("lessons/work/layernorm.py"))     is it right? and if not, what is wrong?
    mine = load_mine("lessons/work")                          all in a folder that are right
    ops = mine.table(build())                                 the table of layers with these in their places

Read in this order: `parts.py` (the list), `checking.py` and `functions.py` (the checks of layers and of what is no
layer), `folder.py` (the way to their places).
"""

from tinygpt.mine.checking import Checked, check
from tinygpt.mine.folder import Mine, load_mine
from tinygpt.mine.parts import PARTS, Part

__all__ = ["PARTS", "Checked", "Mine", "Part", "check", "load_mine"]
