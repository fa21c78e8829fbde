"""One digest of many runs, to be written down where nobody who edits the archive can change it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from runkit.checks.catalogue import found
from runkit.records.finding import Finding
from runkit.records.manifest import Manifest
from runkit.records.record import canonical_digest

_FORMAT = "runkit-archive-1"
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})")


def archive_digest(manifests: Sequence[Manifest]) -> str:
    """Return the digest of the sealed facts of *manifests*, whatever their order.

    Sealed facts hold the digests of every kept file and of the outcomes. Notes can be edited: not in it.
    The digest is of the facts as they are, not of what their seals say.
    """
    return _digest_of(_runs(manifests))


def _runs(manifests: Sequence[Manifest]) -> list[tuple[str, str]]:
    return sorted((run.run_id, run.sealed.content_digest()) for run in manifests)


def _digest_of(runs: Sequence[tuple[str, str]]) -> str:
    return f"sha256:{canonical_digest([_FORMAT, runs])}"


def digest_in(text: str) -> str | None:
    """Return the digest that *text* spells, as :func:`archive_digest` gives it; None when it spells none."""
    spelled = _DIGEST.fullmatch(text.strip().lower())
    return f"sha256:{spelled[1]}" if spelled is not None else None


def anchor_findings(
    manifests: Sequence[Manifest], expected: str, *, unreadable: Sequence[str]
) -> Iterator[Finding]:
    """Yield a finding (RK104) if the digest of *manifests* is not *expected*; and what differs, if it tells.

    Args:
        expected: As :func:`digest_in` gives it.
        unreadable: Ids of runs that belong to them and whose manifests cannot be read.
    """
    runs = _runs(manifests)
    actual = _digest_of(runs)
    if unreadable:
        yield _other(
            f"{', '.join(unreadable)} cannot be read, so the digest cannot be what was expected, {expected}"
        )
    elif actual != expected:
        added = [
            run_id
            for index, (run_id, _) in enumerate(runs)
            if _digest_of([*runs[:index], *runs[index + 1 :]]) == expected
        ]
        reason = (
            f"without {added[0]} it is as expected, so that run was added since"
            if added
            else "a run was edited, added or removed since; a digest alone does not tell which"
        )
        yield _other(f"the {len(manifests)} runs have digest {actual}, expected {expected}: {reason}")


def _other(message: str) -> Finding:
    return found(
        "RK104", "", "manifests", message,
        way_out="Compare with the commit that was tagged, or with the runs that the digest was made of.",
    )  # fmt: skip
