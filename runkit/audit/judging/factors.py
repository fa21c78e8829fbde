"""Claims about what was switched on, and what a comparison shows, against effective configurations.

A label is no configuration: where two runs with different labels have one effective configuration, the claim
that a component was off in one of them is contradicted, and so is every effect read from the pair.
"""

from __future__ import annotations

import re
from fractions import Fraction

from runkit.audit.claims import Effect, Factor, Needs, Setting
from runkit.audit.truth import (
    Archive,
    Judgement,
    configuration_evidence,
    configured,
    decimal,
    peak_points,
    points,
)
from runkit.audit.words import FACTOR_KEYS, FACTORS
from runkit.records.manifest import Manifest

_ALL = re.compile(
    r"\ball[-_ ]?(?:fix(?:es)?|components?)\b|\bfull\b|\bevery component\b|\bcontrol\b|\bbaseline\b",
    re.IGNORECASE,
)


_SWITCHED_OFF = re.compile(r"(?:false|none|no|off|0+(?:\.0+)?|0?\.0+|null|)", re.IGNORECASE)


def judged_setting(run: Manifest, claim: Setting) -> Judgement:
    """Return the value that the key has in the run."""
    known = configured(run, claim.key)
    if known is None:
        return Judgement(
            "unverifiable", "", f"the configuration of {run.run_id} has no {claim.key.split('|')[0]}"
        )
    for alternative in claim.key.split("|"):
        other = configured(run, alternative)
        if other is not None and same_value(other[1], claim.value):
            known = other
    key, value = known
    actual = f"{key} {value}"
    evidence = configuration_evidence(run)
    if same_value(value, claim.value):
        return Judgement("supported", actual, evidence)
    inert = run.sealed.configuration.inert.get(key)
    if inert is not None and "path" in inert:
        return Judgement("unverifiable", actual, "a path")
    return Judgement("contradicted", actual, evidence)


def same_value(one: str, other: str) -> bool:
    """Return whether two written values are the same setting.

    >>> same_value("0.0001", "1e-4"), same_value("true", "True"), same_value("soft_only", "soft-only")
    (True, True, True)
    """
    left, right = (text.strip().strip("\"'").lower().replace("-", "_") for text in (one, other))
    if left == right:
        return True
    try:
        return Fraction(one.strip()) == Fraction(other.strip())
    except (ValueError, ZeroDivisionError):
        words = ({"true", "yes", "on", "1"}, {"false", "no", "off", "none", "0"})
        return any(left in group and right in group for group in words)


def judged_factor(archive: Archive, run: Manifest, claim: Factor) -> Judgement:
    """Return whether components were on or off."""
    if claim.polarity != "on":
        twin = _twin_with(archive, run, claim)
        if twin is not None:
            return _no_op(run, twin)
    states = [(factor, _state(run, factor)) for factor in claim.factors]
    unknown = [factor for factor, state in states if state is None]
    if unknown:
        return Judgement(
            "unverifiable", "", f"the configuration of {run.run_id} has no key for {', '.join(unknown)}"
        )
    shown = "; ".join(f"{key} {value}" for _, state in states if state for key, value in state[1])
    evidence = configuration_evidence(run)
    if claim.polarity == "only":
        others = [
            name
            for name, _ in FACTORS
            if name not in claim.factors and name in {"prompt_alignment", "rope_projection"}
        ]
        on = [name for name in others if (state := _state(run, name)) is not None and state[0]]
        if on:
            return Judgement("contradicted", f"{', '.join(on)} on", evidence)
        if all(state and state[0] for _, state in states) and all(
            _state(run, name) is not None for name in others
        ):
            return Judgement("supported", shown, evidence)
        return Judgement("unverifiable", shown, "the configuration does not show what else was off")
    wanted = claim.polarity == "on"
    if all(state is not None and state[0] == wanted for _, state in states):
        return Judgement("supported", shown, evidence)
    return Judgement("contradicted", shown, evidence)


def _state(run: Manifest, factor: str) -> tuple[bool, tuple[tuple[str, str], ...]] | None:
    """Return whether *factor* is on, and the keys that say so; None when no key does."""
    pattern = FACTOR_KEYS[factor]
    configuration = run.sealed.configuration
    settings = {
        key: "none" if value is None else str(value) for key, value in configuration.effective.items()
    }
    for key, value in configuration.logged.items():
        settings.setdefault(key, value)
    named = tuple((key, value) for key, value in settings.items() if pattern.search(key))
    switches = tuple(
        (key, value)
        for key, value in named
        if re.search(r"weight|enabled?$|use_|positions$|align$|projection$", key)
    )
    decisive = switches or named
    if not decisive:
        return None
    return any(not _SWITCHED_OFF.fullmatch(value) for _, value in decisive), decisive


def _twin_with(archive: Archive, run: Manifest, claim: Factor) -> Manifest | None:
    """Return a run with the same configuration whose label says otherwise of these components."""
    for twin in archive.twins(run):
        if _declared(run, twin) or _declared(twin, run):
            return twin
        label = archive.labels.get(twin.run_id, twin.run_id)
        if not _says_off(label, claim) and (
            _ALL.search(label) or any(_names(label, factor) for factor in claim.factors)
        ):
            return twin
    return None


def _declared(run: Manifest, control: Manifest) -> bool:
    return any(relation.run_id == control.run_id for relation in run.relations("ablates"))


def _names(label: str, factor: str) -> bool:
    pattern = dict(FACTORS)[factor].pattern
    return re.search(rf"(?<![\w])(?:{pattern})(?!\w)", label, re.IGNORECASE) is not None


def _says_off(label: str, claim: Factor) -> bool:
    """Return whether *label* makes the claim too, so that the two runs are meant as replicates."""
    for factor in claim.factors:
        pattern = dict(FACTORS)[factor].pattern
        if claim.polarity == "only" and re.search(rf"(?:{pattern})[-_ ]only\b", label, re.IGNORECASE):
            return True
        if claim.polarity == "off" and re.search(
            rf"\b(?:no|without|w/o)[-_ ](?:{pattern})|(?:{pattern})[-_ ](?:off|disabled)",
            label,
            re.IGNORECASE,
        ):
            return True
    return False


def _no_op(run: Manifest, twin: Manifest) -> Judgement:
    digest = run.sealed.configuration.effective_digest[:12]
    actual = f"the same effective configuration as {twin.run_id}"
    evidence = (
        f"effective configuration {digest} in both ({configuration_evidence(run)}, "
        f"{configuration_evidence(twin)})"
    )
    same = _equal_first_dump(run, twin)
    return Judgement("contradicted", actual, evidence + same, "RK401")


def _equal_first_dump(run: Manifest, twin: Manifest) -> str:
    digests = [
        {
            artifact.path.rpartition("/")[2]: artifact.sha256
            for artifact in one.sealed.artifacts
            if artifact.role == "dump"
        }
        for one in (run, twin)
    ]
    name = "eval_samples_step_0.jsonl"
    if name in digests[0] and digests[0][name] == digests[1].get(name):
        return f"; {name} has the same bytes in both (sha256 {digests[0][name][:12]})"
    return ""


def judged_effect(archive: Archive, run: Manifest, claim: Effect) -> Judgement:
    """Return whether a pair of runs exists that can show the effect, and what it shows."""
    twins = [twin for twin in archive.twins(run) if _labels_differ(archive, run, twin)]
    pairs = [pair for factor in claim.factors if (pair := _pair(archive, run, factor)) is not None]
    if twins and not pairs:
        judgement = _no_op(run, twins[0])
        compared = _compared(run, twins[0])
        return Judgement(
            "contradicted", f"{judgement.actual}: nothing is compared{compared}", judgement.evidence, "RK401"
        )
    if not pairs or claim.amount is None:
        return Judgement(
            "unverifiable",
            "",
            "the archive has no pair of runs that differ in it alone"
            if not pairs
            else "what would confirm it is not said",
        )
    one, other = pairs[0]
    mine, theirs = _final(one), _final(other)
    if mine is None or theirs is None:
        return Judgement("unverifiable", "", "one of the two runs has no final evaluation")
    value = theirs - mine
    actual = f"{decimal(value)} ({other.run_id} against {one.run_id})"
    holds = claim.amount.holds(value) or claim.amount.holds(-value)
    return Judgement(
        "supported" if holds else "contradicted",
        actual,
        configuration_evidence(one),
    )


def _labels_differ(archive: Archive, run: Manifest, twin: Manifest) -> bool:
    if _declared(run, twin) or _declared(twin, run):
        return True
    mine, theirs = archive.labels.get(run.run_id, run.run_id), archive.labels.get(twin.run_id, twin.run_id)
    return any(_names(mine, name) != _names(theirs, name) for name, _ in FACTORS) or bool(
        _ALL.search(mine)
    ) != bool(_ALL.search(theirs))


def _pair(archive: Archive, run: Manifest, factor: str) -> tuple[Manifest, Manifest] | None:
    """Return *run* and a run that differs from it in nothing but keys of *factor*, the one without first."""
    pattern = FACTOR_KEYS[factor]
    mine = dict(run.sealed.configuration.effective)
    for other in archive.manifests:
        theirs = dict(other.sealed.configuration.effective)
        differing = {key for key in {*mine, *theirs} if mine.get(key) != theirs.get(key)}
        if differing and all(pattern.search(key) for key in differing):
            state = _state(run, factor)
            return (other, run) if state is not None and state[0] else (run, other)
    return None


def _compared(run: Manifest, twin: Manifest) -> str:
    mine, theirs = _final(run), _final(twin)
    return (
        f" (finals {decimal(mine)} and {decimal(theirs)})" if mine is not None and theirs is not None else ""
    )


def _final(run: Manifest) -> Fraction | None:
    return next((point.value for point in points(run, "bridged") if point.label == "final"), None)


def judged_needs(archive: Archive, run: Manifest, claim: Needs) -> Judgement:
    """Return whether runs with the needed value did better than this one, which has another."""
    keys = [
        key
        for one in archive.manifests
        for key, value in one.sealed.configuration.effective.items()
        if value == claim.value
    ]
    if not keys:
        return Judgement("unverifiable", "", f"no archived run has {claim.value}")
    key = keys[0]
    mine = configured(run, key)
    top = peak_points(points(run, "bridged"))
    if mine is None or mine[1] == claim.value or not top:
        return Judgement("unverifiable", "", f"{run.run_id} is no run without {claim.value}")
    rivals = [
        (peak[0].value, other.run_id, peak[0].told())
        for other in archive.manifests
        if other.sealed.configuration.effective.get(key) == claim.value
        and [model.name for model in other.sealed.models] == [model.name for model in run.sealed.models]
        and (peak := peak_points(points(other, "bridged")))
    ]
    if not rivals:
        return Judgement("unverifiable", "", f"no run with the same models has {claim.value}")
    best = max(rivals)
    actual = f"with {key} {mine[1]} at most {top[0].told()}, with {claim.value} at most {best[2]} ({best[1]})"
    if best[0] < top[0].value:
        return Judgement("contradicted", actual, f"{top[0].evidence}; {configuration_evidence(run)}")
    return Judgement("unverifiable", actual, "that one value did better does not show that it is necessary")
