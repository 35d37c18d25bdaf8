"""The numbers that were measured for a picture, and kept."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1]


def path_of(name: str) -> Path:
    return FOLDER / "numbers" / f"{name}.json"


def measured(name: str) -> Any:
    """What `measure()` of the picture NAME found when it last ran."""
    return json.loads(path_of(name).read_text(encoding="utf-8"))
