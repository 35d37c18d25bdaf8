"""What a card is asked, and how it is told. The command is `benchmarks/cuda_report.py`."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = str(ROOT / "benchmarks" / "cuda_report.py")  # every process of the report runs it
