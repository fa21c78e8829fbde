"""A linter for experiment records, an archive it can trust, and tables that print only what it proves.

In one's own program, four functions say what was measured; they need no other package (``docs/``, the
tutorial "your own script in five minutes")::

    import runkit

    runkit.params(lr=0.1, seed=1)
    runkit.log(step=100, loss=2.31)
    runkit.score("f1", 0.81, task="squad", split="dev", higher_is_better=True)
    runkit.items("exact_match", {"q1": True, "q2": False}, task="squad", split="dev")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runkit.recording import items as items
    from runkit.recording import log as log
    from runkit.recording import params as params
    from runkit.recording import score as score

__version__ = "0.1.0"

__all__ = ["__version__", "items", "log", "params", "score"]


def __getattr__(name: str) -> Any:
    """Return one of the four functions; they are loaded with the first that is used."""
    if name not in ("items", "log", "params", "score"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from runkit import recording

    return getattr(recording, name)
