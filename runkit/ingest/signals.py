"""Lines of a log that say why a run stopped: text in, records out. Decides nothing.

A form counts at the start of a line only, after what ``torchrun`` and Slurm put before it. Outputs of models
stand in the same log, and a model may well write about running out of memory.
"""

from __future__ import annotations

import re

from runkit.records.log_signal import LogSignal, SignalKind

_BEFORE = r"(?:\[(?:rank|Rank )\d+\]: ?)?(?:\d+: )?"
_SLURM = r"(?:slurmstepd(?:-\S+)?|srun): error: .*"
_FORMS: tuple[tuple[SignalKind, str], ...] = (
    ("walltime", rf"{_SLURM}DUE TO TIME LIMIT"),
    ("preempted", rf"{_SLURM}DUE TO PREEMPTION"),
    ("node failure", rf"{_SLURM}(?:DUE TO NODE FAILURE|NODE_FAIL|Node failure on)"),
    ("host out of memory", rf"{_SLURM}(?:oom[-_ ]kill|Out Of Memory|Exceeded job memory limit)"),
    (
        "gpu out of memory",
        r"(?:torch\.(?:cuda\.)?OutOfMemoryError\b|(?:RuntimeError: )?CUDA (?:error: )?out of memory)",
    ),
    (
        "nccl",
        r"(?:torch\.distributed\.Dist\w*Error: .*NCCL|RuntimeError: NCCL|\[?E?\d* ?.*Watchdog caught "
        r"collective operation timeout|.*ncclSystemError|.*ncclUnhandledCudaError|.*\bNCCL error\b)",
    ),
    ("cuda", r"(?:RuntimeError: )?CUDA error: "),
    ("import", r"(?:ModuleNotFoundError|ImportError): "),
    (
        "disk full",
        r"(?:OSError: )?\[Errno (?:28|122|27)\]|.*: No space left on device$|\[Crash\] cannot write ",
    ),
    ("not finite", r"\[Crash\] .*not finite|.*Error: .*\bloss is (?:nan|inf|not finite)\b"),
    ("interrupted", r"(?:KeyboardInterrupt$|\[Interrupted\])"),
    ("killed", r"(?:.*: line \d+: +\d+ )?Killed(?:$| )"),
    ("segfault", r"(?:.*: line \d+: +\d+ )?Segmentation fault"),
    ("exception", r"(?:[A-Za-z_][\w.]*(?:Error|Exception): |\[Crash\])"),
)
_KNOWN = tuple((kind, re.compile(_BEFORE + form)) for kind, form in _FORMS)


def read_signals(text: str) -> tuple[LogSignal, ...]:
    """Return the lines of *text* that say why something stopped; the first form that fits names the kind."""
    found = []
    for number, line in enumerate(text.split("\n"), start=1):
        piece = line.rstrip("\r").rpartition("\r")[2]
        kind = next((kind for kind, form in _KNOWN if form.match(piece)), None)
        if kind is not None:
            found.append(LogSignal(kind, number))
    return tuple(found)
