"""Which settings of a cluster run had an effect, by declared rules and not by guessing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from runkit.records.record import Scalar

_NEVER_COUNT = {
    "log_dir": "a path",
    "save_path": "a path",
    "show_eval_samples": "only printed",
}
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_FRACTION = re.compile(r"[+-]?([0-9]{1,300}(\.[0-9]{0,300})?|\.[0-9]{1,300})([eE][+-]?[0-9]{1,4})?")
"""As Python prints them. What Python would also read, ``1_000`` for one, is left as the text that it is."""
_DECODE_KEYS = ("decode_interval", "decode_samples", "decode_max_length")


class EffectiveSettings(NamedTuple):
    """The settings that count, and those that do not with the reason."""

    effective: dict[str, Scalar]
    inert: dict[str, str]


def effective_settings(logged: Mapping[str, str], *, world_size: int | None) -> EffectiveSettings:
    """Return what of *logged* had an effect, with world size and global batch added.

    Inert are paths, what is only printed, and the keys of the decode loss when its weight is 0.
    """
    values = {key: scalar(text) for key, text in logged.items()}
    inert = {key: reason for key, reason in _NEVER_COUNT.items() if key in values}
    if values.get("decode_loss_weight") == 0:
        inert |= {key: "decode_loss_weight is 0" for key in _DECODE_KEYS if key in values}
    effective = {key: value for key, value in values.items() if key not in inert}
    effective["world_size"] = world_size
    per_device_batch = values.get("per_device_batch")
    if isinstance(per_device_batch, int) and world_size is not None:
        effective["global_batch"] = per_device_batch * world_size
    return EffectiveSettings(dict(sorted(effective.items())), inert)


def scalar(text: str) -> Scalar:
    """Return the value that *text* spells in Python: a truth value, None, a number, or the text itself."""
    constants: dict[str, Scalar] = {"True": True, "False": False, "None": None}
    if text in constants:
        return constants[text]
    if _WHOLE.fullmatch(text):
        return int(text)
    if _FRACTION.fullmatch(text):
        value = float(text)
        return value if value - value == 0 else text
    return text
