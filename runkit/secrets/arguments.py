"""A command's arguments without secrets: what an option, a login or an address in them gives away."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from runkit.secrets.text import DROPPED, is_secret_value, without_secrets

_OPTION = re.compile(r"--?(?P<name>[A-Za-z][\w.-]*)(?:=(?P<value>.*))?", re.DOTALL)
_ASSIGNMENT = re.compile(r"(?P<name>[A-Za-z_][\w.-]*)=(?P<value>.*)", re.DOTALL)
_NEXT_OPTION = re.compile(r"-[A-Za-z]|--(?:[a-z][a-z0-9_.-]*(?:=.*)?)?", re.DOTALL)
"""What is an option by itself and not the value of the one before; a password may begin with a hyphen too."""
_LOGIN_KEY = re.compile(r"[0-9a-f]{40}")
"""What ``wandb login`` takes."""
_LOGIN = re.compile(r"(?P<user>[^:\s]+):(?P<value>.+)", re.DOTALL)


class CleanArguments(NamedTuple):
    """A command without what may be secret in it."""

    argv: tuple[str, ...]
    dropped: tuple[str, ...]
    """Names of the options whose values were left out; ``argument 3`` for a value without a name."""


def clean_arguments(argv: Sequence[str]) -> CleanArguments:
    """Return *argv* with :data:`~runkit.secrets.text.DROPPED` in the place of what may be secret."""
    kept: list[str] = []
    dropped: list[str] = []
    waiting = ""
    for place, argument in enumerate(argv):
        before, waiting = waiting, ""
        if place and argv[place - 1] == "login" and _LOGIN_KEY.fullmatch(argument):
            kept.append(DROPPED)
            dropped.append("login")
            continue
        if before and not _NEXT_OPTION.fullmatch(argument) and _is_secret_after(before, argument):
            kept.append(DROPPED)
            dropped.append(before)
            continue
        option = _OPTION.fullmatch(argument) or _ASSIGNMENT.fullmatch(argument)
        name, value = (option["name"], option["value"]) if option is not None else ("", None)
        login = _LOGIN.fullmatch(argument) if before in {"u", "user", "proxy-user"} else None
        if login is not None:
            kept.append(argument[: login.start("value")] + DROPPED)
            dropped.append(before)
        elif option is not None and value is not None and is_secret_value(name, value):
            kept.append(argument[: option.start("value")] + DROPPED)
            dropped.append(name)
        else:
            clean = without_secrets(argument)
            kept.append(clean)
            if clean != argument:
                dropped.append(name or f"argument {place}")
            waiting = name if value is None else ""
    return CleanArguments(tuple(kept), tuple(dict.fromkeys(dropped)))


def _is_secret_after(name: str, value: str) -> bool:
    return is_secret_value(name, value) or (
        value.startswith("-") and is_secret_value(name, value.lstrip("-"))
    )
