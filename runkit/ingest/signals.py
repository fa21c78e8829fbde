"""Lines of a log that say why a run stopped: text in, records out. Decides nothing.

A form counts at the start of a line only, after a bar, or after what launchers and loggers put before it.
Outputs of models stand in the same log, and a model may well write about running out of memory.
"""

from __future__ import annotations

import re

from runkit.ingest.bars import is_decoration
from runkit.ingest.loglines import Log, LogLines
from runkit.records.log_signal import LogSignal, SignalKind

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
_KNOWN = tuple((kind, re.compile(form)) for kind, form in _FORMS)
_NEEDLES = (
    b"slurmstepd", b"srun: error", b"OutOfMemoryError", b"CUDA", b"NCCL", b"nccl", b"Watchdog caught",
    b"Error: ", b"Errno", b"No space left", b"[Crash]", b"KeyboardInterrupt", b"[Interrupted]", b"Killed",
    b"Segmentation", b"Exception: ",
)  # fmt: skip
_LONGEST_DECORATION = 300


def read_signals(log: Log) -> tuple[LogSignal, ...]:
    """Return the lines of *log* that say why something stopped; the first form that fits names the kind."""
    found = []
    for line in LogLines(log, _NEEDLES):
        kinds = (kind for piece in line.pieces if (kind := _kind_of(piece.text)) is not None)
        kind = next(kinds, None)
        if kind is not None:
            found.append(LogSignal(kind, line.number))
    return tuple(found)


def _kind_of(text: str) -> SignalKind | None:
    return next((kind for kind, form in _KNOWN if _stands_first(form, text)), None)


def _stands_first(form: re.Pattern[str], text: str) -> bool:
    """Return whether *form* stands in *text* at its beginning, or after what others put before it."""
    if form.match(text):
        return True
    found = form.search(text, 1, len(text))
    return (
        found is not None
        and found.start() <= _LONGEST_DECORATION
        and bool(text[: found.start()].strip())
        and is_decoration(text[: found.start()])
    )
