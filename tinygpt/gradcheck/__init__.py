"""Is this backward the derivative of that forward? And if not, what is wrong with it?

    gradient_check(forward, backward, inputs)   any pair of functions of the layers' contract
    check_gradients(code, inputs)               a class, a pair of functions or a loss, as people write them
    assert_gradients(code, inputs)              the same in a test
    check_layer("layernorm", my_module)         anything that is to take a layer's place, held against the definition
    diagnose("layernorm", my_module)            what is wrong with it, in words
    numerical_gradient(f, x)                    the derivative of any function of an array, entry by entry

Read in this order: `numerical.py` (the idea), `differences.py`, `precision.py`, `compared.py` and `experiment.py` (the
check), `repeats.py` and `hidden.py` (what else may be wrong, or was not checked), `layers/` and `suite.py` (what is
checked), `mutants.py` and `edits.py` (a library of wrong layers), `measure.py` (how many of them the check finds),
`relations.py` and the files it imports (what a wrong gradient is to the right one), `operands.py` (of which arrays two
shapes are that do not fit), `diagnosis.py` (what is wrong, in words), `adapters/` (anybody's code), `own_file.py` and
`terminal.py` (files, what is printed), `process.py`, `child.py` and `wire.py` (a file in a process of its own).
"""

from tinygpt.gradcheck.adapters import assert_gradients, check_gradients
from tinygpt.gradcheck.diagnosis import diagnose
from tinygpt.gradcheck.experiment import gradient_check
from tinygpt.gradcheck.numerical import numerical_gradient
from tinygpt.gradcheck.report import Diagnosis, Report, Row
from tinygpt.gradcheck.suite import check_layer

__all__ = [
    "Diagnosis", "Report", "Row", "assert_gradients", "check_gradients", "check_layer", "diagnose", "gradient_check",
    "numerical_gradient",
]  # fmt: skip
