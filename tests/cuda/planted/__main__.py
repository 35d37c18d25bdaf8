"""python -m tests.cuda.planted [NAME ...]: what sees each bug, and that nothing is seen where nothing is wrong."""

import sys
import time

from tests.cuda import strict_cupy
from tests.cuda.planted import found, planted, verdict
from tests.layers.implementations import twins

ORDERS = 50


def main(names: list[str]) -> int:
    bad = 0
    with strict_cupy.installed() as card:
        import cupy

        for name, module in found().items():
            if names and name not in names:
                continue
            print(f"\n## {name}\n\n| planted | seen | what it says |\n|---|---|---|")
            for bug in module.BUGS:
                with planted(name, bug):
                    seen, sentence = verdict(name, card, cupy)
                wrong = (seen or "blind") != bug.seen
                bad += wrong
                expected = f", but {bug.seen} was expected" if wrong else ""
                print(f"| {bug.title} | {seen or 'blind'}{expected} | {sentence.replace('|', '/')} |", flush=True)
        print(f"\n## The right kernels, in {ORDERS} orders of blocks and warps\n")
        for name in sorted({twin.layer for twin in twins("cuda")} | set(found())):
            if names and name not in names:
                continue
            began, alarms = time.perf_counter(), set()
            for card.seed in range(ORDERS):
                alarms.add(" ".join(verdict(name, card, cupy)).strip())
            alarms.discard("")
            bad += len(alarms)
            print(f"- {name}: {'; '.join(alarms) or 'no alarm'} ({time.perf_counter() - began:.1f} s)", flush=True)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
