"""The generated part of ``preserved_runs/README.md``: an index, and a section for each run or its replicates.

Reads no file but its templates, and says nothing that manifests and findings do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from runkit.records.finding import Finding
from runkit.records.manifest import Manifest
from runkit.records.replicates import ReplicateGroup
from runkit.render.escaping import code_span, escaped_markdown
from runkit.render.replicate_section import ReplicateSection, replicate_section
from runkit.render.run_section import RunSection, run_section


@dataclass(frozen=True)
class LookedAt:
    """What was read for the page, beside manifests and outcomes."""

    num_reread: int
    """Runs whose files all lie in the archive, and were read again."""
    num_by_reference: int
    """Runs of which a file is kept by reference; the page is the same wherever these are at hand."""
    not_reread: Mapping[str, str]
    """Run id of each other run to why it was not read again."""


def readme_block(
    manifests: Sequence[Manifest],
    findings: Mapping[str, Sequence[Finding]],
    groups: Sequence[ReplicateGroup] = (),
    *,
    looked_at: LookedAt,
) -> str:
    """Return the generated Markdown for *manifests*, by start and then run id.

    Args:
        findings: Run id to the findings of the checks, in the order of printing.
        groups: The runs that share a section; it stands where the first id would stand. Every id is
            that of a manifest, and no run is in two groups.
        looked_at: What the findings can be of.
    """
    ordered = sorted(manifests, key=_by_start)
    environment = Environment(
        loader=PackageLoader("runkit.render"),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701  # this is Markdown: each value goes through a filter below
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(md=escaped_markdown, code=code_span)
    text = environment.get_template("readme.md.j2").render(
        sections=list(_sections(ordered, findings, groups)),
        has_replicates=bool(groups),
        looked_at=looked_at,
        has_bridges=any(run.sealed.scores is None for run in manifests) or not manifests,
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n") + "\n"


def _sections(
    ordered: Sequence[Manifest],
    findings: Mapping[str, Sequence[Finding]],
    groups: Iterable[ReplicateGroup],
) -> Iterable[RunSection | ReplicateSection]:
    by_id = {manifest.run_id: manifest for manifest in ordered}
    of_lead = {group.run_ids[0]: group for group in groups}
    others = {run_id for group in of_lead.values() for run_id in group.run_ids[1:]}
    for manifest in ordered:
        group = of_lead.get(manifest.run_id)
        if group is not None:
            members = [by_id[run_id] for run_id in group.run_ids]
            yield replicate_section(group, members, [findings.get(run_id, ()) for run_id in group.run_ids])
        elif manifest.run_id not in others:
            yield run_section(manifest, findings.get(manifest.run_id, ()))


def _by_start(manifest: Manifest) -> tuple[str, str]:
    started = manifest.sealed.started
    return (started.at if started is not None else "9999", manifest.run_id)
