"""Where a step with a reader's parts parts from the engine's: the first array that is not as it should be.

The engine's own lines make the same arrays in the same places, and are held against those. Of a reader's function that
is right, nothing is marked, however it computes. Of one that is not, what it returned is marked, and before that the
first line inside that can be known to be wrong: by the engine's array of the same name, where forward is wrong; by the
derivative of the loss by the reader's own NAME, for what backward calls dNAME.
"""

import math
import re
from collections import defaultdict

import numpy as np

from tinygpt.gradcheck.intermediates import named_after
from tinygpt.recorder.pairs import error
from tinygpt.recorder.recording import Array, Call, Recording

AGREES, COARSELY = 1e-6, 1e-3  # relative to the largest number; the latter where something is in float32
NOTHING = 1e-10  # an absolute difference that is rounding
SCALED = re.compile(r"=.*[^*/][*/][^*/]")
COMPOSITES = ("block", "mlp", "lm_head_loss")  # what the model's page makes of leaves


def mark(mine: Recording, engine: Recording) -> Array | None:
    """Mark the arrays of `mine` that differ from what they should be, and return the first of them; None if none does.

    mine, engine: the same step, with a reader's parts and without. Of a parameter that differs, its update does.
    """
    sides = _Sides(mine, engine)
    mine.compared, mine.first, mine.wrong, mine.handed_on, mine.worst = True, None, None, False, None
    for array in mine.arrays:
        array.differs = False
    for call in sides.units:
        if sides.wrong_results(call):
            mine.wrong = sides.innermost(call)
            mine.first = sides.first_wrong(mine.wrong, sides.wrong_results(mine.wrong)) or sides.first_other()
            mine.handed_on = sides.is_handed_on(mine.first, mine.wrong)
            break
    for array in mine.arrays[mine.first.id :] if mine.first else filter(sides.is_the_engines, mine.arrays):
        array.differs = array is mine.first or array.kind != "param" and sides.like_the_engines(array) is False
    if mine.first is None and not any(array.differs for array in mine.arrays):
        for array in mine.of_kind("param"):
            array.differs = sides.updated_otherwise(array)
    mine.first = mine.first or next((array for array in mine.arrays if array.differs), None)
    if mine.first and mine.first.kind != "param" and not mine.handed_on:
        mine.worst = sides.worst(mine.first)
    return mine.first


def says(mine: Recording) -> str:
    """What is to be said of a step with a reader's parts, in a sentence or two."""
    parts = ", ".join(mine.parts)
    if not math.isfinite(mine.loss):
        return f"With {parts} of yours the loss is {mine.loss}, so that nothing in the step can be nudged."
    if not mine.steady:
        return f"With {parts} of yours the same step gives another loss each time, so that nothing in it can be nudged."
    unknown = sum(array.mine and array.terms is None for array in mine.arrays)
    left = f" What {unknown} of your arrays were made from could not be followed." if unknown else ""
    first = mine.first
    if not mine.compared:
        return f"The step with {parts} of yours.{left}"
    if first is None:
        return f"With {parts} of yours every number is the engine's, but for rounding.{left}"
    if first.kind == "param":
        return f"With {parts} of yours the gradients are the engine's, and the update of {first.name} is another.{left}"
    where = f"{first.file}, line {first.line}" if first.file else first.path
    if (call := mine.wrong) and call.mine and call.file != first.file:  # what it hands on, it did not make itself
        by = f"in what {call.function} of {call.file} returns; the first array that differs is"
        return f"With {parts} of yours the step parts from the engine's {by} {first.name} ({where}).{left}"
    if mine.handed_on and call:
        by = f"in what {call.function} returns ({call.file}, line {call.end})"
        itself = f"{first.name} is right by itself, and not what belongs there"
        return f"With {parts} of yours the step parts from the engine's {by}: {itself}.{left}"
    off = ""
    if mine.worst:
        index, right, whose = mine.worst
        at = f"{first.name}[{','.join(map(str, index))}]" if index else first.name
        off = f": {at} is {first.values[index]:.4g}, where {whose} {right:.4g}"
    return f"With {parts} of yours the step parts from the engine's at {first.name} ({where}){off}.{left}"


class _Sides:
    """Two recordings of the same step, laid side by side. A unit is a call of a reader's function, or of what stands
    between that and the model, with all that it calls in turn.
    """

    def __init__(self, mine: Recording, engine: Recording):
        self.mine, self.engine = mine, engine
        self.agrees = COARSELY if mine.coarse else AGREES
        self.named: dict[tuple[str, str, str], list[Array]] = defaultdict(list)
        for array in engine.arrays:
            for name in array.names:
                self.named[array.path, array.kind, name].append(array)
        self.units = [call for call in mine.calls if call.owned and not any(one.owned for one in call.above)]

    def innermost(self, unit: Call) -> Call:
        """The call in a unit, or itself, that is wrong by itself: it was given what the engine gives in its place."""
        for call in self.mine.calls:
            if call.owned and unit in call.above and self.wrong_results(call) and self.given_the_same(call):
                return self.innermost(call)
        return unit

    def in_another(self, call: Call, unit: Call) -> bool:
        """Whether a call within a unit is, or is in, another function of a reader's, no helper of the unit's."""
        between = [c for c in [call, *call.above] if unit in c.above]
        return any(c.owned and not c.helper for c in between)

    def given_the_same(self, call: Call) -> bool:
        """Whether the arrays among its arguments, of which there are some, are those of its counterpart."""
        other = self.counterpart(call)
        pairs = list(zip(call.arguments, other.arguments, strict=False)) if other else []
        return any(given for given, _ in pairs) and all(
            self.same(given.values, right.values) if given and right else given is right for given, right in pairs
        )

    def first_other(self) -> Array | None:
        """The first array that is not the engine's of that place and name."""
        made = (array for array in self.mine.arrays if array.kind != "param")
        return next((array for array in made if self.like_the_engines(array) is False), None)

    def worst(self, first: Array) -> tuple[tuple[int, ...], float, str] | None:
        """Where the first array that differs is furthest off, what is there by right, and by whom: the derivative by
        the array that it is the gradient of by its name, which it is made; or the engine's one of its name.
        """
        right, by = None, "the engine has"
        of = next((call.of for call in (first.call, *first.call.above) if call.of), None) if first.call else None
        for name, array in of.all_named if of and first.mine and first.kind == "backward" else ():
            if name == named_after(first.name) and array.values.size == first.values.size:
                if array.derivative is not None and array.gradient in (None, first) and array.mine and array.call is of:
                    array.gradient, array.error = first, error(first.values, array)
                    right, by = array.derivative.reshape(first.values.shape), f"nudging {name} gives"
        place = first.path, first.kind, first.name
        others = [a for a in self.named[place] if a.values.shape == first.values.shape]
        own = [a for a in self.mine.arrays if (a.path, a.kind) == place[:2] and first.name in a.names]
        own = [a for a in own if a.values.shape == first.values.shape]
        if right is None and len(others) == len(own):
            right = others[own.index(first)].values
        if right is None or not (np.isfinite(right).all() and np.isfinite(first.values).all()):
            return None
        index = tuple(map(int, np.unravel_index(np.abs(first.values - right).argmax(), right.shape)))
        return index, float(right[index]), by

    def is_handed_on(self, array: Array | None, unit: Call) -> bool:
        """Whether an array that a reader's forward returned is the engine's of its name, which it does not return."""
        return array is not None and array.call is unit and not unit.backward and bool(self.like_the_engines(array))

    def counterpart(self, unit: Call) -> Call | None:
        """The engine's call in the place of a unit."""

        def alike(calls: list[Call], modules: list[str]) -> list[Call]:
            place = unit.path, unit.backward
            return [c for c in calls if (c.path, c.backward) == place and not c.helper and c.module in modules]

        known = {call.module for call in self.engine.calls if call.path == unit.path}
        leaves = [unit.module] if unit.module in known else sorted(known - {"gpt2"})
        modules = ["gpt2"] if unit.module in COMPOSITES else leaves
        number = alike([c for c in self.mine.calls if c.owned], [unit.module]).index(unit)
        calls = alike(self.engine.calls, modules)
        return calls[number] if number < len(calls) else None

    def wrong_results(self, unit: Call) -> list[tuple]:
        """The paths of what a unit returned that is other than what the engine returns in its place."""
        other = None if unit.helper else self.counterpart(unit)
        if other is None:
            return []
        given = {path: values for path, (values, _) in unit.returned.items()}
        right = {path: values for path, (values, _) in other.returned.items()}
        paths = dict.fromkeys([*right, *given])
        return [p for p in paths if p not in given or p not in right or not self.same(given[p], right[p])]

    def first_wrong(self, unit: Call, paths: list[tuple]) -> Array | None:
        """The first array of a unit that is known to be wrong, where what it returned at these paths is."""
        inside = [a for a in self.mine.arrays if a.call and (a.call is unit or unit in a.call.above)]
        if unit.module in COMPOSITES:  # the layers in it were asked by themselves
            inside = [a for a in inside if a.call and not self.in_another(a.call, unit)]
        wrong = self.made_by_the_reader(unit, paths, inside)
        feeding = self.feeding(wrong, inside)
        standing: set[int] = set()
        if unit.backward:
            wrong_here, standing = self.by_nudges(inside)
            wrong += wrong_here
        wrong += [a for a in feeding if a.id not in standing and self.like_the_engines(a) is False]
        others = [a for a in inside if self.like_the_engines(a) is False]
        returned = [unit.returned[path][1] for path in paths if path in unit.returned]
        handed_on = [a for a in returned if a is not None and a in inside]
        last = [a for a in inside if a.mine][-1:]  # what it was made into is none of the numbers that are recorded
        return min(wrong or others or handed_on or last, key=lambda array: array.id, default=None)

    def made_by_the_reader(self, unit: Call, paths: list[tuple], inside: list[Array]) -> list[Array]:
        """Of what a unit returned at these paths, the arrays that a reader's lines made: those returned themselves, or
        those whose numbers were only handed on, where they are wrong.
        """
        other, found = self.counterpart(unit), list[Array]()
        ids = {array.id for array in inside}
        for path in paths:
            if path not in unit.returned:
                continue
            values, array = unit.returned[path]
            right = other.returned[path][0] if other and path in other.returned else np.zeros(0)
            bad = ~self.close(values, right).ravel() if right.shape == values.shape else np.ones(values.size, bool)
            if array is not None and array.id in ids:
                found += self.traced(array, set(np.flatnonzero(bad).tolist()), ids)
        return found

    def traced(self, array: Array, bad: set[int], ids: set[int]) -> list[Array]:
        """The arrays of a reader's lines that these elements of an array were made from; itself, if it is one."""
        if array.mine:
            return [array]
        if array.terms is None or array.id not in ids:
            return []
        found, sources = list[Array](), defaultdict(set)
        for of, source, element in zip(array.terms.of, array.terms.source, array.terms.element, strict=True):
            if int(of) in bad:
                sources[int(source)].add(int(element))
        for source, elements in sources.items():
            found += self.traced(self.mine.arrays[source], elements, ids)
        return found

    def feeding(self, arrays: list[Array], inside: list[Array]) -> list[Array]:
        """Those of a reader's lines that others were made from, however far back."""
        among, waiting = {array.id: array for array in inside}, list(arrays)
        found: dict[int, Array] = {}
        while waiting:
            array = waiting.pop()
            if array.id in among and array.id not in found:
                found[array.id] = array
                if array.terms is not None:
                    waiting += [self.mine.arrays[source] for source in np.unique(array.terms.source)]
        return [array for array in found.values() if array.mine]

    def by_nudges(self, inside: list[Array]) -> tuple[list[Array], set[int]]:
        """The arrays that a reader's backward calls dNAME, and that are not the derivative by what its forward calls
        NAME: of each name that never is, the first that the engine does not have either, or the last; and those that
        are.
        """
        wrong, standing = list[Array](), set[int]()
        ids = {array.id for array in inside}
        for call in self.mine.calls:
            if not call.mine or not call.backward or call.of is None:
                continue
            groups: dict[str, list[Array]] = defaultdict(list)
            for name, array in call.all_named:
                if array.id in ids and array.mine and array not in groups[name]:
                    groups[name].append(array)
            for name, arrays in groups.items():
                of = named_after(name)
                # what came as an argument may have other uses, whose share is not this backward's to give
                heard = call.of, *call.of.helpers
                named = [a for n, a in call.of.all_named if n == of and a.mine and a.derivative is not None]
                made = [a for a in named if a.call in heard]
                fitting = [a for a in arrays if any(a.values.size == one.values.size for one in made)]
                right = {a.id for a in fitting if any(self.is_derivative(a, one) for one in made)}
                standing |= right
                if fitting and not right:
                    strange = [a for a in fitting if not self.like_the_engines(a)]
                    wrong.append(strange[0] if strange and len(strange) < len(fitting) else fitting[-1])
        return wrong, standing

    def is_derivative(self, gradient: Array, array: Array) -> bool:
        """Whether it is the derivative by an array; of one that is a product or a quotient, by a multiple of it too."""
        if gradient.values.size != array.values.size or array.derivative is None:
            return False
        values, right = gradient.values.ravel(), array.derivative.ravel()
        times = float(values @ right) / max(float(right @ right), 1e-30) if SCALED.search(array.code) else 1.0
        return times != 0 and error(values / times, array) < 10 * self.agrees

    def like_the_engines(self, array: Array) -> bool | None:
        """Whether an array is one of the engine's of that place and name; None where the engine has none."""
        places = [(array.path, array.kind, name) for name in array.names]
        others = [one for place in places for one in self.named[place] if one.values.shape == array.values.shape]
        return any(self.same(array.values, one.values) for one in others) if others else None

    @staticmethod
    def is_the_engines(array: Array) -> bool:
        """Whether it was made outside of all units."""
        return array.call is not None and not any(call.owned for call in (array.call, *array.call.above))

    def updated_otherwise(self, parameter: Array) -> bool:
        """Whether AdamW has made another thing of a parameter."""
        given, right = parameter.update, self.engine[parameter.key].update
        assert given is not None and right is not None
        return not all(self.same(getattr(given, name), getattr(right, name)) for name in ("m", "v", "after"))

    def same(self, given: np.ndarray, right: np.ndarray) -> bool:
        return given.shape == right.shape and bool(self.close(given, right).all())

    def close(self, given: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Which numbers are the same but for rounding, relative to the largest."""
        finite = right[np.isfinite(right)]
        largest = np.abs(finite).max(initial=0.0)
        with np.errstate(invalid="ignore"):
            return (given == right) | (np.abs(given - right) <= self.agrees * largest + NOTHING)
