"""Is this backward the derivative of that forward? And if not, what is wrong with it?

    gradient_check(forward, backward, inputs)   any pair of functions of the layers' contract
    check_layer("layernorm", my_module)         anything that is to take a layer's place, held against the definition
    diagnose("layernorm", my_module)            what is wrong with it, in words
    numerical_gradient(f, x)                    the derivative of any function of an array, entry by entry

Read in this order: `numerical.py` (the idea), `differences.py` and `experiment.py` (the check), `layers/` and
`suite.py` (what is checked), `mutants.py` and `edits.py` (a library of wrong layers), `measure.py` (how many of them
the check finds), `diagnosis.py` (what is wrong, in words), `own_file.py` and `terminal.py` (files, what is printed),
`process.py`, `child.py` and `wire.py` (a reader's file in a process of its own).
"""

from tinygpt.gradcheck.diagnosis import diagnose
from tinygpt.gradcheck.experiment import gradient_check
from tinygpt.gradcheck.numerical import numerical_gradient
from tinygpt.gradcheck.report import Diagnosis, Report, Row
from tinygpt.gradcheck.suite import check_layer

__all__ = ["Diagnosis", "Report", "Row", "check_layer", "diagnose", "gradient_check", "numerical_gradient"]
