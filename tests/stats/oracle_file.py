"""The oracle of reference values, when it is beside the checkout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

_ORACLE = Path(__file__).resolve().parents[3] / "shared" / "oracles" / "statistics.json"


def read_oracle() -> dict[str, Any]:
    """Return reference values computed with scipy and statsmodels, or skip the test that asks."""
    if not _ORACLE.is_file():
        pytest.skip("the oracle is not beside the checkout (../shared/oracles/statistics.json)")
    values: dict[str, Any] = json.loads(_ORACLE.read_text())
    return values
