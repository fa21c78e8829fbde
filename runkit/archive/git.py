"""Asking git about a checkout without running any program that the checkout names.

A repository's configuration can name programs, and git runs them while it only looks. Each is switched off:

* file monitor, hooks, external diffs, text conversions, pagers, and transports, so that nothing is fetched;
* every filter (``clean``, ``smudge``, ``process``) that any configuration names, since git has no switch for
  all of them. So git compares the bytes on the disk, and files with a filter need a word of their own;
* submodules: inside them git would start itself without these settings, so it looks at their commit only.

What this cannot switch off: the ``git`` on the ``PATH``, which is trusted.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_TIMEOUT_SECONDS = 60
_SETTINGS = {
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "core.pager": "cat",
    "core.sshCommand": "false",
    "core.quotePath": "true",
    "credential.helper": "",
    "diff.noprefix": "false",
    "diff.mnemonicPrefix": "false",
    "diff.ignoreSubmodules": "dirty",
    "protocol.allow": "never",
    "safe.bareRepository": "explicit",
    "status.submoduleSummary": "false",
    "submodule.recurse": "false",
}
_DROPPED_VARIABLES = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_ASKPASS", "GIT_COMMON_DIR", "GIT_CONFIG",
        "GIT_CONFIG_PARAMETERS",
        "GIT_DIFF_OPTS", "GIT_DIR", "GIT_EXTERNAL_DIFF", "GIT_GRAFT_FILE", "GIT_IMPLICIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_NO_REPLACE_OBJECTS", "GIT_OBJECT_DIRECTORY", "GIT_PAGER", "GIT_PREFIX", "GIT_PROXY_COMMAND",
        "GIT_REPLACE_REF_BASE", "GIT_SHALLOW_FILE", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_WORK_TREE",
        "SSH_ASKPASS",
    }
)  # fmt: skip


class GitRefused(Exception):
    """git could not be run, did not answer, or said no; the message says which."""

    def __init__(self, message: str, *, exit_status: int | None = None) -> None:
        super().__init__(message)
        self.exit_status = exit_status


@dataclass(frozen=True)
class Git:
    """git in one folder."""

    folder: Path
    filters: Mapping[str, str] = field(default_factory=dict)
    """Settings that switch filters off; from :meth:`without_filters`."""

    def output(
        self, *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None
    ) -> bytes:
        """Return what git prints.

        Raises:
            GitRefused: It cannot be run, takes longer than a minute, or fails.
        """
        try:
            done = subprocess.run(
                ("git", "-C", str(self.folder), "--no-pager", *arguments),
                input=stdin,
                capture_output=True,
                timeout=_TIMEOUT_SECONDS,
                check=False,
                env={**self._environment(), **(environment or {})},
            )
        except FileNotFoundError as error:
            raise GitRefused("git is not installed") from error
        except OSError as error:
            raise GitRefused(f"git cannot be run: {error.strerror}") from error
        except subprocess.TimeoutExpired as error:
            raise GitRefused(f"git {arguments[0]} took more than {_TIMEOUT_SECONDS} s") from error
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise GitRefused(said[0] if said else f"git {arguments[0]} failed", exit_status=done.returncode)
        return done.stdout

    def names(self, *arguments: str, stdin: bytes = b"") -> list[str]:
        """Return what git prints as texts that end in zero bytes; errors as in :meth:`output`."""
        return [os.fsdecode(name) for name in self.output(*arguments, stdin=stdin).split(b"\0") if name]

    def line(self, *arguments: str) -> str:
        """Return the one line that git prints; errors as in :meth:`output`."""
        return os.fsdecode(self.output(*arguments)).removesuffix("\n")

    def without_filters(self) -> Git:
        """Return git that runs none of the filters that a configuration names here."""
        try:
            named = self.names("config", "--null", "--name-only", "--get-regexp", r"^filter\.")
        except GitRefused as error:
            if error.exit_status != 1:
                raise
            named = []  # there is none
        drivers = {name.rpartition(".")[0] for name in named}
        values = {"clean": "", "smudge": "", "process": "", "required": "false"}
        return Git(
            self.folder,
            {f"{driver}.{part}": value for driver in sorted(drivers) for part, value in values.items()},
        )

    def filtered(self, names: Sequence[str]) -> dict[str, str]:
        """Return those of *names* whose attributes name a filter that is configured, with its name."""
        if not names or not self.filters:
            return {}
        told = self.output(
            "check-attr",
            "-z",
            "--stdin",
            "filter",
            stdin=b"".join(os.fsencode(name) + b"\0" for name in names),
        ).split(b"\0")
        return {
            os.fsdecode(name): os.fsdecode(value)
            for name, value in zip(told[::3], told[2::3], strict=False)
            if f"filter.{os.fsdecode(value)}.clean" in self.filters
        }

    def _environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in _DROPPED_VARIABLES
            and not name.startswith(("GIT_CONFIG_KEY_", "GIT_CONFIG_VALUE_", "GIT_TRACE"))
        }
        settings = {**_SETTINGS, **self.filters}
        for place, (name, value) in enumerate(settings.items()):
            kept[f"GIT_CONFIG_KEY_{place}"], kept[f"GIT_CONFIG_VALUE_{place}"] = name, value
        return kept | {
            "GIT_CONFIG_COUNT": str(len(settings)),
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": "",
            "GIT_NO_LAZY_FETCH": "1",
            "LC_ALL": "C",
        }
