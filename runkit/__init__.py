"""A linter for experiment records, an archive it can trust, and tables that print only what it proves.

In one's own program, four functions say what was measured; they need no other package (``docs/``, the
tutorial "your own script in five minutes")::

    import runkit

    runkit.params(lr=0.1, seed=1)
    runkit.log(step=100, loss=2.31)
    runkit.score("f1", 0.81, task="squad", split="dev", higher_is_better=True)
    runkit.items("exact_match", {"q1": True, "q2": False}, task="squad", split="dev")
"""

from runkit.recording import items, log, params, score

__version__ = "0.1.0"

__all__ = ["__version__", "items", "log", "params", "score"]
