"""What goes wrong becomes one line and exit status 2; a defect of our own is said to be one."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from runkit import __version__
from runkit.errors import RunkitError
from runkit.render.escaping import one_line

TRACEBACK_VARIABLE = "RUNKIT_TRACEBACK"

_LONGEST_MESSAGE = 300
_PACKAGES = ("site-packages", "dist-packages")


def line_for(error: BaseException) -> str:
    """Return the line that says what *error* is, and the way out."""
    if isinstance(error, RunkitError):
        return _joined(str(error))
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; what was finished is on disk, nothing is half-written"
    if isinstance(error, OSError):
        named = f"{error.filename}: " if error.filename else ""
        return _joined(f"{named}{error.strerror or error}")
    if isinstance(error, ImportError):
        return (
            f"cannot load {error.name or 'a part of runkit'}: {_shortened(error)}; this installation is not "
            "whole: install it again with `pip install --force-reinstall runkit`"
        )
    return (
        f"internal error: {type(error).__name__} in {_place(error)}: {_shortened(error)}; this is a defect "
        f"of runkit {__version__}: report it with what the same command prints under {TRACEBACK_VARIABLE}=1, "
        "which names places in the code and nothing of yours"
    )


def tell_error(error: BaseException) -> None:
    """Print the line for *error*, and before it, if that is asked for, where a defect lies."""
    if _is_defect(error) and os.environ.get(TRACEBACK_VARIABLE):
        print("\n".join(_places(error)), file=sys.stderr)
    print(f"runkit: {line_for(error)}", file=sys.stderr)


def _is_defect(error: BaseException) -> bool:
    return not isinstance(error, (RunkitError, OSError, KeyboardInterrupt))


def _places(error: BaseException) -> list[str]:
    """Return the calls that led to *error*, without values, messages and folders of this machine."""
    python = ".".join(map(str, sys.version_info[:3]))
    lines = [f"runkit {__version__}, Python {python} on {sys.platform}"]
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        frames = traceback.extract_tb(cause.__traceback__)
        shown = [f"  {_inside(frame.filename)}:{frame.lineno} in {frame.name}" for frame in frames]
        if len(shown) > 40:
            shown = [*shown[:20], f"  … {len(shown) - 40} more", *shown[-20:]]
        lines += [f"{type(cause).__module__}.{type(cause).__qualname__}", *shown]
        cause = cause.__cause__ or cause.__context__
    return lines


def _place(error: BaseException) -> str:
    """Return the last line of runkit's own on the way to *error*."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _inside(frame.filename).startswith("runkit/")]
    return f"{_inside(own[-1].filename)}:{own[-1].lineno}" if own else "no code of runkit"


def _inside(file: str) -> str:
    """Return *file* from its package on: where that is installed is nobody's business."""
    parts = Path(file).parts
    package = Path(__file__).parts[:-2]
    if parts[: len(package)] == package:
        return "/".join(("runkit", *parts[len(package) :]))
    for folder in _PACKAGES:
        if folder in parts:
            return "/".join(parts[len(parts) - parts[::-1].index(folder) :])
    return parts[-1] if parts else file


def _shortened(error: BaseException) -> str:
    said = _joined(str(error)) or "no reason given"
    return said if len(said) <= _LONGEST_MESSAGE else f"{said[:_LONGEST_MESSAGE]}…"


def _joined(text: str) -> str:
    return one_line(" ".join(text.splitlines()))
