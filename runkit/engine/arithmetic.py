"""How the last bit of a number on a CPU comes about, settled before torch is loaded; no tensor is here.

Libraries choose other kernels on other processors, and with them another order of sums and other
approximations of functions. Three settings make them choose the same on every x86-64 processor with AVX2.
They are read when torch first computes, so :func:`settle` comes before torch is loaded;
:mod:`runkit.engine.operations` checks afterwards that they took effect.

What this does not promise: the same bits on a GPU, with several threads (a sum is split by their number), in
other numbers than fp32, or on another architecture. For models much larger than the embedded pair it has not
been measured.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from typing import Literal

from runkit.records.manifest import Arithmetic

Setting = Literal["portable", "fast"]

PORTABLE = {
    "ATEN_CPU_CAPABILITY": "avx2",  # torch's own kernels: not AVX-512 where there is such
    "MKL_CBWR": "COMPATIBLE",  # products: the only branch that MKL takes on processors of every maker
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # what torch hands to oneDNN, for example the exact GELU
}
"""Environment variables and the values under which Intel and AMD give the same bits."""


def settle(setting: Setting, environment: MutableMapping[str, str] = os.environ) -> None:
    """Let torch compute as *setting* says; to be called before torch is loaded.

    ``fast`` leaves everything to the libraries; what an outer portable run set is taken back. Where torch
    has computed already, in a program that uses runkit as a library, nothing changes any more, and the check
    of operations says which bits came of it.
    """
    if setting == "portable":
        environment.update(PORTABLE)
        return
    for name, value in PORTABLE.items():
        if environment.get(name) == value and "torch" not in sys.modules:
            del environment[name]


def promise(arithmetic: Arithmetic, *, is_embedded_pair: bool) -> str:
    """Return in one sentence which machines repeat numbers that were computed so.

    Args:
        is_embedded_pair: Whether the models are the ones that two makers' processors were compared with.
    """
    if arithmetic.device != "cpu":
        return "the same bits on the same kind of GPU with the same versions"
    if arithmetic.setting == "fast":
        return "the same bits on the same kind of processor only (compute.arithmetic is fast)"
    if arithmetic.differing:
        named = ", ".join(arithmetic.differing)
        return f"the same bits on this kind of processor only: other bits than elsewhere in {named}"
    if arithmetic.threads > 1:
        return f"the same bits with {arithmetic.threads} threads on the same kind of processor"
    if not is_embedded_pair:
        return "the same bits on this kind of processor; others were compared for the embedded pair only"
    return "the same bits on every x86-64 processor with AVX2"
