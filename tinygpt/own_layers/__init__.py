"""A reader's own parts of the engine: which there are, how each is checked, and how a model and a run take them in.

    check("layernorm", Path("lessons/work/layernorm.py"))     is it right? and if not, what is wrong?
    own = load_own_layers("lessons/work")                     all in a folder that are right
    state = start(config, own.parts)                          a run with these in their places

Read in this order: `judge.py` (which there are, how a file is checked), `functions/` and `outcomes.py` (the check of
what is no layer), `folder.py` (those of a folder), `places.py` (the way to their places).
"""

from tinygpt.own_layers.folder import OwnLayers, load_own_layers
from tinygpt.own_layers.judge import PARTS, Checked, Part, check

__all__ = ["PARTS", "Checked", "OwnLayers", "Part", "check", "load_own_layers"]
