"""Whether a run's numbers repeat on other machines; compares nothing with this one."""

from __future__ import annotations

from collections.abc import Iterator

from runkit.checks.catalogue import found
from runkit.checks.view import ArchiveView, Family
from runkit.records.finding import Finding


def _arithmetic_findings(archive: ArchiveView) -> Iterator[Finding]:
    for manifest in archive.manifests:
        arithmetic = manifest.sealed.arithmetic
        if arithmetic is None or not arithmetic.differing:
            continue
        message = (
            f"the machine gave other bits than are known for {', '.join(arithmetic.differing)}; "
            "expected those of every x86-64 processor with AVX2, so the run repeats on its own kind only"
        )
        yield found("RK411", manifest.run_id, "sealed.arithmetic.differing", message)


ARITHMETIC = Family("arithmetic", _arithmetic_findings, frozenset({"RK411"}))
