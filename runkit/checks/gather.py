"""Running families of checks, applying waivers, and putting findings in order; finds nothing itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Set
from types import MappingProxyType

from runkit.checks.arithmetic import ARITHMETIC
from runkit.checks.baselines import BASELINES
from runkit.checks.checkpoints import CHECKPOINTS
from runkit.checks.claims import CLAIMS
from runkit.checks.code_state import CODE_STATE
from runkit.checks.completion import COMPLETION
from runkit.checks.evidence import EVIDENCE
from runkit.checks.integrity import INTEGRITY
from runkit.checks.lineage import LINEAGE
from runkit.checks.measured_claims import MEASURED_CLAIMS
from runkit.checks.measurement import MEASUREMENT
from runkit.checks.names import NAMES
from runkit.checks.secrecy import SECRECY, secret_findings
from runkit.checks.sources import SOURCES
from runkit.checks.statistics import STATISTICS
from runkit.checks.unseeded import UNSEEDED
from runkit.checks.view import ArchiveView, Family
from runkit.checks.waivers import idle_waivers, not_looked_at, waived
from runkit.records.finding import SEVERITIES, Finding
from runkit.records.manifest import Manifest
from runkit.records.run_texts import SuspectedSecret

FOR_ONE_RUN: tuple[Family, ...] = (
    INTEGRITY,
    EVIDENCE,
    MEASUREMENT,
    SOURCES,
    COMPLETION,
    CHECKPOINTS,
    UNSEEDED,
    CODE_STATE,
    ARITHMETIC,
    SECRECY,
)
"""Families that look at each run by itself, so that runs can be read one after the other."""

FOR_ALL_RUNS: tuple[Family, ...] = (BASELINES,)
"""Families of ``validate`` that compare runs."""

FOR_RELATIONS: tuple[Family, ...] = (LINEAGE, NAMES, STATISTICS, CLAIMS, MEASURED_CLAIMS)
"""Families of ``lineage``."""

EVERY_FAMILY = FOR_ONE_RUN + FOR_ALL_RUNS + FOR_RELATIONS

NEED_TEXTS = frozenset({"RK111", "RK208", "RK304", "RK305"})
"""Rules that are not judged in full without the run's texts."""

_NOTHING: Mapping[str, frozenset[str]] = MappingProxyType({})


def gather(archive: ArchiveView, families: Iterable[Family] = EVERY_FAMILY) -> tuple[Finding, ...]:
    """Return what *families* find in *archive*, waived where a person said so, in the order of printing.

    A family says nothing about what *archive* does not hold: without observations nothing is compared
    with the disk, without outcomes nothing is recomputed.
    """
    families = tuple(families)
    judged = frozenset[str]().union(*(family.rules for family in families))
    if not archive.outcomes:
        judged -= {"RK201", "RK206", "RK501", "RK502", "RK504", "RK505", "RK506"}
    if not archive.texts:
        judged -= NEED_TEXTS
    if not archive.observations:
        judged -= {"RK101", "RK103", "RK106"}
    if not all(seen.rehashed for seen in archive.observations.values()) or not archive.observations:
        judged -= {"RK102"}
    if not archive.rereadings:
        judged -= {"RK110"}
    unseen = {
        run_id: not_looked_at(archive.by_id[run_id], observation)
        for run_id, observation in archive.observations.items()
        if run_id in archive.by_id
    }
    return concluded(unwaived(archive, families), archive.manifests, judged=judged, unseen=unseen)


def unwaived(archive: ArchiveView, families: Iterable[Family]) -> list[Finding]:
    """Return what *families* find in *archive*, before any waiver."""
    return [finding for family in families for finding in family.findings(archive)]


def concluded(
    findings: Iterable[Finding],
    manifests: Iterable[Manifest],
    *,
    judged: Set[str],
    unseen: Mapping[str, frozenset[str]] = _NOTHING,
) -> tuple[Finding, ...]:
    """Return *findings* with the waivers of *manifests* applied, idle waivers added, worst first.

    Args:
        judged: The rules that were checked in full; only their waivers can be stale.
        unseen: Run id to the artifacts that were not at hand; a waiver of what was found there is not stale.
    """
    by_run: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        by_run[finding.run_id].append(finding)
    for manifest in manifests:
        places = unseen.get(manifest.run_id, frozenset())
        own = list(waived(by_run.get(manifest.run_id, []), manifest.notes.waivers))
        in_full = judged - NEED_TEXTS if places else judged
        by_run[manifest.run_id] = [*own, *idle_waivers(own, manifest, in_full, places)]
    return tuple(sorted((one for own in by_run.values() for one in own), key=printing_order))


def unaccepted_secrets(manifest: Manifest, suspected: Iterable[SuspectedSecret]) -> tuple[Finding, ...]:
    """Return what looks secret in the kept files of a run, less what a person accepted."""
    findings = concluded(secret_findings(manifest.run_id, suspected), [manifest], judged=frozenset())
    return tuple(one for one in findings if one.waived_because is None)


def printing_order(finding: Finding) -> tuple[int, str, str, str, str]:
    """Return the key that sorts findings: severity, run, rule, place, message."""
    return (SEVERITIES.index(finding.severity), finding.run_id, finding.rule, finding.place, finding.message)


def fails(findings: Iterable[Finding]) -> bool:
    """Return whether *findings* hold an error or a warning that nobody waived."""
    return any(finding.severity != "info" and finding.waived_because is None for finding in findings)
