"""Which paths can stand in a manifest: those that mean the same file, inside the run, on every system."""

from __future__ import annotations

import re


def trouble_of_path(path: str) -> str | None:
    """Return why *path* cannot be kept in the archive, or None.

    >>> trouble_of_path("a/b.txt"), trouble_of_path("../b.txt")
    (None, 'climbs out of the run directory')
    """
    if path.startswith("/") or re.match(r"[A-Za-z]:", path):
        return "is absolute"
    if ".." in path.split("/"):
        return "climbs out of the run directory"
    if "\\" in path:
        return "has a backslash, which separates folders on some systems"
    return None
