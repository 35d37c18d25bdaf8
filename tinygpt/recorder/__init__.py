"""One training step with every array that it makes: what each number was made from, and how the loss answers to it.

    step = record_step("the cat sat on the mat. ")
    scores = step["h.0.attn/scores"]        an Array: its values, the line that made it, its gradient, the derivative
    scores.values[0, 1, 3, 2]               one of its numbers
    step.made_from(scores.key, 0, 1, 3, 2)  what that was made from: a list of Terms (array, place, by)
    scores.gradient.values[0, 1, 3, 2]      how the loss answers to it, by backward; scores.derivative, by a nudge
    page_data(step)                         all of it, as the step page takes it
    mine = record_step(own=own)             the same step with a reader's parts
    mark(mine, step)                        the first array that is not as it should be

Read in this order: `recording.py` (what is known of an array), `instrument.py` (copies of the layers that tell what
they do), `memory.py` and `recorder.py` (who listens, and knows every number again), `derivatives.py` (what a line's
results are made from), `pairs.py` (which array is whose gradient), `step.py` (the step), `own.py` and `parting.py` (a
reader's parts in it).
"""

from tinygpt.recorder.data import page_data
from tinygpt.recorder.parting import mark
from tinygpt.recorder.recording import Array, Call, Recording, Term
from tinygpt.recorder.step import record_step

__all__ = ["Array", "Call", "Recording", "Term", "mark", "page_data", "record_step"]
