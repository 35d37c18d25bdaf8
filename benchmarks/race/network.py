"""What a sum over N ranks costs by a model: t = 2 (N - 1) / N * S / B + 2 (N - 1) a.

Each rank sends 2 (N - 1) / N of the S bytes, in 2 (N - 1) turns: Patarasuk and Yuan, "Bandwidth optimal all-reduce
algorithms for clusters of workstations", 2009. B is what the slowest link on the way round carries in one direction, a
what a turn takes when there is nothing to carry. NCCL's own measure of bandwidth follows from the same formula
(nccl-tests, doc/PERFORMANCE.md).
"""

import re
from pathlib import Path
from typing import NamedTuple

CUDA_REPORT = Path(__file__).parents[1] / "results" / "cuda.md"
GOAL = 450_000  # tokens/s of a card


class Link(NamedTuple):
    """bandwidth: bytes/s in one direction; latency: seconds of a turn."""

    name: str
    bandwidth: float
    latency: float


# NVLink 4 (H100, H200) has 18 links of 25 GB/s a direction, 900 GB/s both ways by NVIDIA's data sheet; NCCL 2.30 plans
# with 20.6 GB/s of each (SM90_NVLINK_BW, src/graph/topo.h), and with 3.4 and 14 us for a turn of a ring over NVLink and
# over a network (hwLatencies, src/graph/tuning.cc). The networks are at their nominal rates.
NVLINK = Link("NVLink", 18 * 20.6e9, 3.4e-6)
CARD_LINKS = NVLINK, Link("400 Gbit/s", 50e9, 14e-6), Link("100 Gbit/s", 12.5e9, 14e-6)


def sent(ranks: int, size: float) -> float:
    """Bytes that each rank sends."""
    return 2 * (ranks - 1) / ranks * size


def seconds(ranks: int, size: float, link: Link) -> float:
    """Of a sum of `size` bytes over so many ranks."""
    return sent(ranks, size) / link.bandwidth + 2 * (ranks - 1) * link.latency


def share(computing: float, summing: float) -> float:
    """Of the speed of N ranks that would never wait: both in seconds, of a step."""
    return computing / (computing + summing)


def newest_step() -> tuple[str, float, int]:
    """GPT-2 on a card by the newest report: how it is computed there, tokens/s, and the tokens of a micro-batch; the
    fastest of tinygpt's.
    """
    row = re.compile(r"^\| gpt2, B=12 \|[^|]*\| (\d+)x(\d+) \| tinygpt \(([^)]+)\) \| ([\d,]+) \|", re.MULTILINE)
    found = row.findall(CUDA_REPORT.read_text(encoding="utf-8"))
    rows, length, how, rate = max(found, key=lambda row: int(row[3].replace(",", "")))
    return how, float(rate.replace(",", "")), int(rows) * int(length)
