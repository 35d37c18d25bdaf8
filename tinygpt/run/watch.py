"""What watches a run and says whether it is as it should be: it gathers what the rules in `advice.py` look at."""

import contextlib
from collections import deque
from collections.abc import Sequence

from tinygpt.data import AdditionCorpus
from tinygpt.errors import UserError
from tinygpt.run.advice import KEPT, Adviser, View, of_this_text
from tinygpt.run.leaks import leak, repeated
from tinygpt.run.marks import Marks, marks_of
from tinygpt.run.reference import Curves, Expected, curves, text_of
from tinygpt.run.state import EvalRecord, Record, StepRecord, TrainState

LOW_BITS = 0.8  # per character; English takes some 1 (Shannon, 1951), the largest models come to 0.6
SOON = 1 << 20  # tokens of a training text in which val's are looked for whatever the loss is: half a second
LOW_SHARE = 0.35  # of the bigrams' loss


class Watch:
    """A run's watcher: call it with each record, and it returns what there is to say, in a line, or "". It reads the
    run and changes nothing in it.

    history: the records before, of a run that goes on; what was said of them is not said again.
    """

    def __init__(self, state: TrainState, history: Sequence[Record] = ()):
        self.state = state
        self.evaluations: list[EvalRecord] = []
        self.readings: deque[StepRecord] = deque(maxlen=KEPT)
        self.marks: Marks | None = None
        config = state.config
        if config.advice:
            with contextlib.suppress(UserError):  # a text that is damaged, perhaps where training does not look
                self.marks = marks_of(
                    state.corpus, state.model.config.vocab_size, config.batch_size, state.model.config.block_size,
                    config.eval_iters, config.seed,
                )  # fmt: skip
        self.adviser = Adviser()
        self.tested = 0  # how often leaks were looked for
        self.tested_soon = False
        self.comparable = True  # until a record shows that it is not the reference runs' run
        self.reference: Curves | None = None
        self.live = False
        for record in of_this_text([record for record in history if record.step > state.same_since]):
            self(record)
        self.live = True

    def __call__(self, record: Record) -> str:
        if isinstance(record, StepRecord):
            if record.loss is not None:
                self.readings.append(record)
            return ""
        self.evaluations.append(record)
        if not self.state.config.advice:
            return ""
        return self.adviser.say(self.view())

    def view(self) -> View:
        """What is known now."""
        now, expected = self.evaluations[-1], self._expected()
        low = not isinstance(self.state.corpus, AdditionCorpus) and self._is_low(now, expected)
        found, in_train = "", None
        if self.live and (not self.tested or low and self.tested < 2):
            self.tested = 2 if low else 1
            with contextlib.suppress(UserError):  # a text that is damaged where training does not look
                found = leak(self.state.model, self.state.corpus, self.state.config.seed)
                in_train = repeated(self.state.corpus) if low and not found else None
        elif self.live and self.tested == 1 and self._is_short():
            self.tested_soon = True
            with contextlib.suppress(UserError):
                in_train = repeated(self.state.corpus) or None
        fresh = self.state.config.init_from == "scratch"
        kept = min(record.val_loss for record in self.evaluations) == self.state.best_val_loss
        return View(
            self.state.config,
            self.evaluations,
            tuple(self.readings),
            self.marks,
            expected,
            fresh,
            kept,
            found,
            in_train,
        )

    def _is_short(self) -> bool:
        """Whether it is time to look for val's text in train's, which takes no time: at the second evaluation."""
        corpus = self.state.corpus
        return not (self.tested_soon or isinstance(corpus, AdditionCorpus)) and len(corpus.streams["train"]) <= SOON

    def _is_low(self, now: EvalRecord, expected: Expected | None) -> bool:
        """Whether a val loss is so low that one should ask why."""
        if expected and now.val_loss < expected.mean - expected.margin:
            return True
        if now.bits_per_character is not None and now.bits_per_character < LOW_BITS:
            return True
        return bool(self.marks and now.step and now.val_loss < LOW_SHARE * self.marks.bigrams)

    def _expected(self) -> Expected | None:
        """The reference runs at this step, where they hold for this run."""
        if not self.marks or not self.comparable:
            return None
        name = text_of(self.state, [self.evaluations[0], *self.readings])
        if name is None:
            self.comparable = False
            return None
        if self.reference is None:
            self.reference = curves(name, self.state.corpus.fingerprint)
        if self.reference is None:
            return None
        started = self.reference.losses[:, 0].mean() + self.marks.bigrams * self.reference.relative
        if self.state.config.init_from == "resume" and abs(self.evaluations[0].val_loss - started) > 0.3:
            self.comparable = False  # it began with weights from elsewhere
            return None
        return self.reference.at(self.evaluations[-1].step, self.marks.bigrams)
