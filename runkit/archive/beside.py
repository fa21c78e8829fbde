"""Something that is found out beside other work, and that may hang or fail without harm to it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Found = TypeVar("Found")


class Beside(Generic[Found]):
    """One question that is being answered in a thread; nobody waits for the thread at the end."""

    def __init__(self, what: str, find: Callable[[], Found]) -> None:
        """Begin.

        Args:
            what: Is being found out, for the reason why it is not known.
            find: Returns the answer; whatever it raises becomes the reason.
        """
        self._what = what
        self._find = find
        self._found: list[Found] = []
        self._error = ""
        self._thread = threading.Thread(target=self._look, name=f"runkit-{what}", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # no more threads for this user
            self._error = str(error)

    def within(self, seconds: float) -> Found | None:
        """Return the answer if it comes within *seconds*."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        if self._thread.is_alive():
            self._error = f"no answer within {seconds:g} s"
        return self._found[0] if self._found else None

    @property
    def is_done(self) -> bool:
        """Whether there is an answer or a reason why there is none."""
        return not self._thread.is_alive()

    @property
    def missing_because(self) -> str:
        """Why there is no answer, with what was asked for."""
        return f"{self._what}: {self._error or 'not asked yet'}"

    def _look(self) -> None:
        try:
            self._found.append(self._find())
        except Exception as error:  # noqa: BLE001 - nothing that capture meets may reach the program
            self._error = " ".join(f"{type(error).__name__}: {error}".split())
