"""Claims about the roles of models and the direction of a bridge against the archive."""

from __future__ import annotations

import re

from runkit.audit.claims import Direction, Role
from runkit.audit.truth import Judgement, configuration_evidence, points
from runkit.records.manifest import Manifest


def judged_role(run: Manifest, claim: Role) -> Judgement:
    """Return which model has the role."""
    words = [
        word
        for word in re.split(r"[\s-]+", claim.model.lower())
        if word and not re.fullmatch(r"v?\d[\d.]*b?", word)
    ]
    role = "target" if claim.role == "generator" else claim.role
    model = run.sealed.model(role)
    if model is None:
        return Judgement("unverifiable", "", f"{run.run_id} does not name its {role} model")
    evidence = configuration_evidence(run)
    actual = f"the {role} model is {model.name}"
    if all(word in model.name.lower() for word in words):
        return Judgement("unverifiable" if claim.role == "generator" else "supported", actual, evidence)
    other = run.sealed.model("source" if role == "target" else "target")
    swapped = other is not None and words[0] in other.name.lower()
    if claim.role == "generator":
        if not swapped or other is None:
            return Judgement("unverifiable", actual, evidence)
        alone = points(run, "source")
        told = f"; {words[0].title()} is the source, and alone answers {alone[-1].told()}" if alone else ""
        return Judgement("contradicted", actual + told, evidence)
    if not swapped and not any(word in other.name.lower() for word in words[:1] if other is not None):
        return Judgement(
            "contradicted" if words[0] not in model.name.lower() else "unverifiable",
            actual,
            evidence,
        )
    return Judgement("contradicted", actual, evidence)


def judged_direction(run: Manifest, claim: Direction) -> Judgement:
    """Return from which model to which the bridge leads."""
    source, target = run.sealed.model("source"), run.sealed.model("target")
    if source is None or target is None:
        return Judgement("unverifiable", "", f"{run.run_id} does not name its models")
    actual = f"{source.name} → {target.name}"
    left = claim.source.lower() in source.name.lower() or claim.source.lower() == "source"
    right = claim.target.lower() in target.name.lower()
    if left and right:
        return Judgement("supported", actual, configuration_evidence(run))
    if claim.source.lower() in target.name.lower() and claim.target.lower() in source.name.lower():
        return Judgement("contradicted", actual, configuration_evidence(run))
    return Judgement(
        "unverifiable", actual, "the arrow may mean something else than the direction of the bridge"
    )
