"""What was read of kept files before, on this machine: outside of every archive, and never needed.

An entry is one small file in a folder of the user's own, under a digest of all that it depends on. One that
is not exactly what was written there is no entry, and a folder that cannot be used is no cache; neither is
an error. Whoever can write into that folder can run programs as the user, so it is trusted as much as they.
"""

from __future__ import annotations

import os
import stat
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runkit.archive.workspace import Workspace

VARIABLE = "RUNKIT_CACHE"
"""Names the folder; empty for none."""

_MOST_BYTES = 16 << 20


@dataclass(frozen=True)
class RereadingCache:
    """A folder of entries, or nothing at all."""

    folder: Path | None

    @classmethod
    def of_user(cls, workspace: Workspace) -> RereadingCache:
        """Return the cache of this user; none where it would lie in *workspace*, which others may write."""
        folder = _users_folder()
        try:
            if folder is None or folder.resolve().is_relative_to(workspace.root.resolve()):
                return cls(None)
        except (OSError, RuntimeError, ValueError):
            return cls(None)
        return cls(folder / "rereadings")

    def get(self, key: str) -> bytes | None:
        """Return what was kept under *key*, a digest, or None."""
        if self.folder is None:
            return None
        try:
            file = os.open(self.folder / key, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError):
            return None
        try:
            found = os.fstat(file)
            is_ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
            if not is_ours or found.st_mode & 0o022 or found.st_size > _MOST_BYTES:
                return None
            with os.fdopen(file, "rb", closefd=False) as opened:
                return opened.read(_MOST_BYTES)
        except OSError:
            return None
        finally:
            os.close(file)

    def put(self, key: str, content: bytes) -> None:
        """Keep *content* under *key*, if that is possible."""
        if self.folder is None or len(content) > _MOST_BYTES:
            return
        temporary = self.folder / f".{uuid.uuid4().hex}.tmp"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(file, "wb") as opened:
                opened.write(content)
            temporary.replace(self.folder / key)
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                temporary.unlink(missing_ok=True)


def _users_folder() -> Path | None:
    named = os.environ.get(VARIABLE)
    if named is not None:
        return Path(named) if os.path.isabs(named) else None  # noqa: PTH117  # of a text that may be empty
    shared = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(shared):  # noqa: PTH117  # the specification says that others are to be ignored
        return Path(shared) / "runkit"
    try:
        return Path.home() / ".cache" / "runkit"
    except RuntimeError:
        return None
