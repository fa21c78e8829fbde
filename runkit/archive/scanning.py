"""Looking for what seems secret in files, also in large ones; keeps no content and changes nothing.

A file is cut into lines, one expression that runs in linear time picks those that can hold a secret, and only
these are looked at closely. Large files without text are not looked into.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from runkit.archive.workspace import Workspace
from runkit.records.manifest import Manifest
from runkit.records.run_texts import SuspectedSecret
from runkit.secrets.forms import FORMS
from runkit.secrets.text import secrets_in, tokens_in

_BLOCK_BYTES = 1 << 20
_MOST_BINARY_BYTES = 16 << 20
"""Larger files that hold zero bytes are weights and arrays."""
_MOST_IN_ONE_FILE = 10
_CLOSE_BYTES = 2 << 20
"""Of one file, so much is looked at closely. Where every line speaks of tokens, as in a vocabulary, the rest
is searched for forms alone."""
_LINE_BYTES = 1 << 16
_LINES_TOGETHER = 3
"""The head of a private key and what follows it."""

_WORDS = (
    r"(?i:passw|passphrase|passcode|pwd|pass|secret|token|cred|jwt|auth|dsn|webhook|cookie|sessid|netrc|key|sas|sig"
    r"|session|sid|pat|string)[\w-]*"
)
_VALUE = r"[ \t]*[fbru]?[\\\"'`]*[^\s\"'`\\<>{}()\[\]=:,]*[A-Za-z]"
"""A number is no secret, and most that logs say of tokens are numbers; a password of digits is only seen in
settings."""
_NAMED = (
    rf"{_WORDS}[\\\"'`\]]*[ \t]*(?:[=:,][>=]?{_VALUE}|:[ \t]*\w[\w.\[\]| ]*=[ \t]*[fbru]?[\"'])"
    rf"|--?[\w-]*{_WORDS}[ \t]+{_VALUE}|(?i:password)[ \t]+\S"
)

_FORMS = f"(?:{'|'.join(re.escape(anchor) for form in FORMS for anchor in form.anchors)})" + r"[\w.$/+-]"
_OTHERS = "|".join(
    (
        _NAMED, r"://[^/\s@]+@", r"[0-9]{8}:[\w-]{35}", r"[0-9]Q~", r"SK[0-9a-f]{32}", r"[0-9a-f]{32}-us",
        r"login +(?:--relogin +)?[0-9a-f]{40}", r"(?i:bearer) +[\w.~+/=-]{8}", r"(?i:curl|wget|http).* -",
        r"(?i:x-(?:amz|goog)-)",
    )
)  # fmt: skip
"""What :mod:`runkit.secrets.text` looks for beside forms must be picked by this too."""


class _Line(NamedTuple):
    number: int
    text: str


def suspected_secrets(workspace: Workspace, manifest: Manifest) -> tuple[SuspectedSecret, ...]:
    """Return what looks secret in the files of a preserved run that lie in the archive."""
    folder = workspace.preserved_path(manifest.run_id)
    return tuple(
        SuspectedSecret(artifact.path, line, kind)
        for artifact in manifest.sealed.artifacts
        if artifact.is_here
        for line, kind in secrets_in_file(folder / artifact.path)
    )


def secrets_in_file(path: Path) -> tuple[tuple[int, str], ...]:
    """Return line and kind of the first secrets that *path* seems to hold; none when it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(_BLOCK_BYTES)
            if b"\0" in head[:8192] and not _is_utf16(head) and path.stat().st_size > _MOST_BINARY_BYTES:
                return ()
            found: list[tuple[int, str]] = []
            before, num_close = 0, 0
            for block in _utf16_blocks(head, file) if _is_utf16(head) else _blocks(head, file):
                if len(found) >= _MOST_IN_ONE_FILE:
                    break
                is_close = num_close < _CLOSE_BYTES
                lines, num_lines = _candidate_lines(block, is_close=is_close)
                for one in lines:
                    num_close += len(one.text)
                    kinds = _kinds_at_head(one.text, is_close=num_close < _CLOSE_BYTES)
                    found += [(before + one.number, kind) for kind in kinds]
                    if len(found) >= _MOST_IN_ONE_FILE:
                        break
                before += num_lines
    except OSError:
        return ()
    return tuple(dict.fromkeys(found))[:_MOST_IN_ONE_FILE]


def _blocks(head: bytes, file: BinaryIO) -> Iterator[bytes]:
    """Yield *head* and the rest of *file* in blocks that end with a line, unless one is very long."""
    block = head
    while block:
        yield block + file.readline(_LINE_BYTES)
        block = file.read(_BLOCK_BYTES)


def _utf16_blocks(head: bytes, file: BinaryIO) -> Iterator[bytes]:
    """Yield as UTF-8 what :func:`_blocks` yields of a file in UTF-16."""
    decoder = codecs.getincrementaldecoder("utf-16")(errors="replace")
    block, line = head, ""
    while block:
        text = line + decoder.decode(block)
        end = text.rfind("\n") + 1 or (len(text) if len(text) > _LINE_BYTES else 0)
        if end:
            yield text[:end].encode()
        line = text[end:]
        block = file.read(_BLOCK_BYTES)
    yield (line + decoder.decode(b"", final=True)).encode()


def secrets_in_bytes(content: bytes) -> tuple[tuple[int, str], ...]:
    """Return line and kind of what looks secret in *content*, all of it."""
    lines, _num_lines = _candidate_lines(_as_utf8(content))
    found = [(one.number, kind) for one in lines for kind in _kinds_at_head(one.text)]
    return tuple(dict.fromkeys(found))


def _kinds_at_head(text: str, *, is_close: bool = True) -> Iterator[str]:
    """Yield the kinds of what begins in the first line of *text*.

    Among bytes that are no text only forms count, and what follows them as text: a member of an archive.
    """
    end = text.find("\n")
    end = len(text) if end < 0 else end
    if is_close and "\0" not in text[:end]:
        yield from (one.kind for one in secrets_in(text, is_code=True) if one.start < end)
        return
    yield from (one.kind for one in tokens_in(text) if one.start < end)
    if not is_close:
        return
    after = text[:end].rpartition("\0")[2]
    if after.isprintable() and "\ufffd" not in after:
        yield from (one.kind for one in secrets_in(after, is_code=True))


def _candidate_lines(content: bytes, *, is_close: bool = True) -> tuple[Sequence[_Line], int]:
    """Return the lines that can hold a secret, each with the two after it, and the number of all lines."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import compute

    ends = np.flatnonzero(np.frombuffer(content, dtype=np.uint8) == 0x0A)
    offsets = np.concatenate(([0], ends + 1, [len(content)])).astype(np.int32)
    lines = pa.Array.from_buffers(
        pa.binary(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(content)]
    )
    matches = compute.match_substring_regex(lines, _FORMS if not is_close else f"{_FORMS}|{_OTHERS}")
    places = np.flatnonzero(matches.to_numpy(zero_copy_only=False))
    last = len(offsets) - 1
    return [
        _Line(
            int(place) + 1,
            content[offsets[place] : offsets[min(int(place) + _LINES_TOGETHER, last)]].decode(
                errors="replace"
            ),
        )
        for place in places
    ], len(ends)


def _is_utf16(content: bytes) -> bool:
    return content[:2] in {b"\xff\xfe", b"\xfe\xff"}


def _as_utf8(content: bytes) -> bytes:
    return content.decode("utf-16", errors="replace").encode() if _is_utf16(content) else content
