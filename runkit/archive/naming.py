"""Names of runs in the archive, made from the names of directories: safe on every system, never two alike."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from typing import NamedTuple

from anyascii import anyascii

from runkit.archive.reading import read_manifest, run_ids
from runkit.archive.workspace import Workspace, checked_run_id
from runkit.errors import RunkitError, UsageError

_QUOTES = re.compile(r"""["'`“”‘’«»]""")
"""What a shell leaves in a name by mistake."""
_NO_QUOTES = "a run id has no quotes"
_NOT_IN_RUN_ID = re.compile(r"[^A-Za-z0-9._+-]+")
_LONGEST = 128
_DIGEST_LETTERS = 8
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE | re.DOTALL)
"""What Windows opens as a device, whatever follows the first full stop."""
_TAKEN = frozenset({"readme.md"})
"""Files of ours beside the runs, in lower case."""


class RunName(NamedTuple):
    """A run's name in the archive."""

    run_id: str
    because: str | None
    """Why it is not the directory's own name; None when it is."""


def name_for(workspace: Workspace, directory_name: str) -> RunName:
    """Return the name under which a directory called *directory_name* is kept in *workspace*.

    Raises:
        UsageError: No letter or digit is left of the name.
    """
    name = repaired_name(directory_name)
    namesake = _namesake(workspace, name.run_id)
    if namesake is not None:
        return RunName(_with_digest(name.run_id, directory_name), _alike(namesake))
    if name.because in {None, _NO_QUOTES} and _differs_in_quotes(workspace, name.run_id, directory_name):
        because = f"{_NO_QUOTES}, and without them {name.run_id} is another run"
        return RunName(_with_digest(name.run_id, directory_name), because)
    return name


def refuse_unsafe(workspace: Workspace, run_id: str) -> None:
    """Refuse a new *run_id* that a person chose when not every system can have it beside the others.

    Raises:
        UsageError: With the reason.
        OutsideWorkspace: It would lead out of the archive.
    """
    checked_run_id(run_id)
    namesake = _namesake(workspace, run_id)
    why = _why_unsafe(run_id) if namesake is None else _alike(namesake)
    if why is not None:
        raise UsageError(f"{run_id!r} cannot be a new run id: {why}; choose another one with --run-id")


def repaired_name(directory_name: str) -> RunName:
    """Return a name in letters, digits and ``. _ + -`` for *directory_name*.

    Other writing is spelled in Latin letters. Since several names may be spelled alike, a short digest of the
    whole name follows whenever more than quotes was changed.

    >>> repaired_name('phase1_"20251116_201212"').run_id
    'phase1_20251116_201212'
    >>> repaired_name("实验一").run_id, repaired_name("nul").run_id
    ('ShiYanYi-2dac6e5b', 'run-nul-99e62427')
    """
    plain = _QUOTES.sub("", directory_name)
    if _is_safe(plain):
        because = _NO_QUOTES if plain != directory_name else None
        return RunName(plain, because)
    if not plain:
        raise UsageError(
            f"{directory_name!r} is not a run id and nothing of it can be one; choose one with --run-id"
        )
    spelled = anyascii(unicodedata.normalize("NFC", plain))
    run_id = _NOT_IN_RUN_ID.sub("-", spelled).lstrip("._+-").rstrip(".-") or "run"
    if _why_unsafe(run_id[:_LONGEST]) is not None:
        run_id = f"run-{run_id}"
    because = _why_unsafe(plain) or "a run id has only letters from a to z, digits and . _ + -"
    return RunName(_with_digest(run_id, directory_name), because)


def distinct_name(name: str, *, longest: int) -> str:
    """Return a run id of at most *longest* characters that no other *name* gives; errors as above.

    >>> distinct_name("a", longest=9), distinct_name("a b", longest=99), distinct_name('"a"', longest=99)
    ('a', 'a-b-c8687a08', 'a-ac8d8342')
    """
    made = repaired_name(name)
    has_digest = made.because not in {None, _NO_QUOTES}
    if len(made.run_id) <= longest and (made.run_id == name or has_digest):
        return made.run_id
    return _with_digest(made.run_id[: longest - _DIGEST_LETTERS - 1], name)


def _is_safe(name: str) -> bool:
    try:
        return checked_run_id(name) == name and _why_unsafe(name) is None
    except RunkitError:
        return False


def _why_unsafe(name: str) -> str | None:
    if _DEVICES.fullmatch(name):
        return "some systems open it as a device"
    if name.endswith("."):
        return "some systems drop a full stop at the end"
    if name.lower() in _TAKEN:
        return "a file of the archive has that name"
    if len(name) > _LONGEST:
        return f"a run id has at most {_LONGEST} characters"
    return None


def _with_digest(run_id: str, directory_name: str) -> str:
    digest = hashlib.sha256(os.fsencode(directory_name)).hexdigest()[:_DIGEST_LETTERS]
    return f"{run_id[: _LONGEST - len(digest) - 1]}-{digest}"


def _alike(namesake: str) -> str:
    return f"some systems cannot tell it from the preserved run {namesake}, which differs in case only"


def _differs_in_quotes(workspace: Workspace, run_id: str, directory_name: str) -> bool:
    """Return whether *run_id* is preserved, from a directory whose name has quotes elsewhere."""
    try:
        kept = read_manifest(workspace, run_id).sealed.directory_name or run_id
    except RunkitError:
        return False
    return kept != as_text(directory_name) and _QUOTES.sub("", kept) == run_id


def as_text(name: str) -> str:
    """Return *name* with what is no text in it spelled out."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _namesake(workspace: Workspace, run_id: str) -> str | None:
    """Return the preserved run whose name differs from *run_id* only in case."""
    folded = run_id.casefold()
    known = run_ids(workspace)
    if run_id in known:
        return None
    return next((one for one in known if one.casefold() == folded), None)
