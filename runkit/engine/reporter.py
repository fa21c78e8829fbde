"""What the engine tells its caller while it runs; the engine itself prints nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol


class Reporter(Protocol):
    """Receives the progress of a run; a raised KeyboardInterrupt stops the run honestly."""

    def start(self, total_steps: int) -> None:
        """Training is about to start; it takes *total_steps* unless it stops early."""
        ...

    def step(self, step: int, loss: float) -> None:
        """Step *step*, counted from 1, is done with *loss* in the units of the weighted terms."""
        ...

    def evaluation(self, step: str, split: str, accuracy_fractions: Mapping[str, float]) -> None:
        """An evaluation is done; *step* is a number or ``final``, systems are ``source_alone`` and so on."""
        ...

    def note(self, text: str) -> None:
        """One line that the log also holds, apart from configuration, steps and evaluations."""
        ...


class SilentReporter:
    """The reporter of a process that is not the one that speaks for the run."""

    def start(self, total_steps: int) -> None:
        """Say nothing."""

    def step(self, step: int, loss: float) -> None:
        """Say nothing."""

    def evaluation(self, step: str, split: str, accuracy_fractions: Mapping[str, float]) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""


class LinesReporter:
    """The plain reporter: one line for each note, evaluation and every so many steps."""

    def __init__(self, write_line: Callable[[str], object], *, every_steps: int = 100) -> None:
        self._write_line = write_line
        self._every_steps = every_steps
        self._total_steps = 0

    def start(self, total_steps: int) -> None:
        """Remember the total."""
        self._total_steps = total_steps

    def step(self, step: int, loss: float) -> None:
        """Write a line now and then."""
        if step % self._every_steps == 0:
            self._write_line(f"step {step}/{self._total_steps} loss {loss:.4f}")

    def evaluation(self, step: str, split: str, accuracy_fractions: Mapping[str, float]) -> None:
        """Write all accuracies in one line."""
        shown = " ".join(f"{system} {accuracy:.3f}" for system, accuracy in accuracy_fractions.items())
        self._write_line(f"evaluation at {step} on {split}: {shown}")

    def note(self, text: str) -> None:
        """Write the line as it is."""
        self._write_line(text)
