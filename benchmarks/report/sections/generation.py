"""How fast does it generate a text, beside PyTorch?"""

from typing import Any

from race.side import has_torch

from report.opponent import BF16, OURS, Opponent
from report.report import Report
from report.training import configurations

PLACE, SECONDS = 85, 25

MUST, AIM = 1.5, 5  # times PyTorch's speed
TURNS = 3


def run(report: Report) -> None:
    tokens = 4 if report.stand_in else 200
    names = [OURS, BF16] if has_torch() else [OURS]
    sides = {name: Opponent(name, report.stand_in) for name in names}
    settings = configurations(report.stand_in)["gpt2, B=4"]
    best, notes = dict[str, float](), dict[str, str]()
    for name, side in sides.items():
        answer = side.ask({"settings": settings, "compiled": False}, report.left() / 2)
        notes[name] = answer.get("error", "")
    for _ in range(TURNS):
        for name, side in sides.items():
            if not notes[name]:
                answer = side.ask({"settings": settings, "tokens": tokens}, report.left())
                notes[name] = answer.get("error", "")
                best[name] = min(answer.get("seconds", float("inf")), best.get(name, float("inf")))
    rows: list[dict[str, Any]] = [
        {"side": name, "tokens/s": tokens / best[name] if name in best else None, "": notes[name]} for name in sides
    ]
    report.table(f"One sequence of gpt2's shapes, {tokens} tokens after the first", rows)
    report.say("tinygpt remembers keys and values; PyTorch computes the whole window for each token, as nanoGPT does.")
    report.check("tinygpt did not generate", int(OURS not in best), 0)
    speeds = {row["side"]: row["tokens/s"] for row in rows}
    if speeds[OURS] and speeds.get(BF16) and not report.stand_in:
        report.demand("speed of generating over PyTorch's", speeds[OURS] / speeds[BF16], MUST, AIM)
    said = (f"{name} {report.number(speed, 'tokens/s')}" for name, speed in speeds.items())
    report.answer(", ".join(said))
    for side in sides.values():
        side.process.kill()
