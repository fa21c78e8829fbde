"""Which finding each waiver accepts, which waivers accept none, and binding a waiver; finds nothing else.

A waiver accepts one finding: a rule, a place, and a message word for word. What is found later, elsewhere or
in other words, is not what somebody accepted.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace

from runkit.checks.catalogue import found, is_known, waiver_refusal
from runkit.errors import UsageError
from runkit.records.finding import Finding, text_sha256
from runkit.records.manifest import Manifest, Waiver
from runkit.records.observation import RunObservation

_MOST_LISTED = 8
_SHOWN_DIGITS = 8
_SHOWN_LETTERS = 100
_NO_PLACE = "none"
"""What ``--at`` calls the place of a waiver that names no finding."""


@dataclass(frozen=True)
class WaiverChoice:
    """Which findings a person wants to accept, and why."""

    rule: str
    reason: str | None
    """None: the reason of the waiver that is replaced."""
    at: str | None = None
    """A place, or the first digits of the digest of a message; None: wherever the rule is broken."""
    is_every: bool = False
    """Accept all that fit, each by a waiver of its own; else exactly one must fit."""


@dataclass(frozen=True)
class Binding:
    """Waivers as they are after a change, and what became of them."""

    waivers: tuple[Waiver, ...]
    new: tuple[Waiver, ...]
    """Those that accept a finding now and did not before."""
    left: tuple[str, ...] = ()
    """A sentence for each waiver that a person has to look at."""


def accepts(waiver: Waiver, finding: Finding) -> bool:
    """Return whether *waiver* accepts *finding*: the same rule, at the same place, in the same words."""
    return (
        is_in_effect(waiver)
        and (waiver.rule, waiver.place) == (finding.rule, finding.place)
        and waiver.message_sha256 == finding.message_sha256
    )


def is_bound(waiver: Waiver) -> bool:
    """Return whether *waiver* says which finding it is for."""
    return waiver.place is not None and waiver.message is not None and waiver.message_sha256 is not None


def is_in_effect(waiver: Waiver) -> bool:
    """Return whether *waiver* can accept a finding: it names one, as it was, of a rule that allows it."""
    return (
        is_bound(waiver)
        and text_sha256(waiver.message or "") == waiver.message_sha256
        and waiver_refusal(waiver.rule) is None
    )


def waived(findings: Iterable[Finding], waivers: Sequence[Waiver]) -> Iterator[Finding]:
    """Yield *findings* of one run, each with the reason of the first of *waivers* that accepts it."""
    rules = {waiver.rule for waiver in waivers}
    for finding in findings:
        fitting = waivers if finding.rule in rules else ()
        reason = next((waiver.reason for waiver in fitting if accepts(waiver, finding)), None)
        yield replace(finding, waived_because=reason)


def idle_waivers(
    findings: Sequence[Finding], manifest: Manifest, judged: Set[str], unseen: Set[str] = frozenset()
) -> Iterator[Finding]:
    """Yield the waivers of *manifest* that accept no finding (RK109) or cannot accept any (RK112).

    Args:
        findings: Those of the run, with the reasons of waivers that accept them.
        judged: The rules that were checked in full.
        unseen: Places that were not looked at, so that nothing could be found there.
    """
    for waiver in manifest.notes.waivers:
        said = f"{waiver.rule} is waived ({waiver.reason})"
        place = f"notes.waivers.{waiver.rule}"
        refusal = waiver_refusal(waiver.rule)
        open_ones = _open(findings, waiver.rule)
        if not is_known(waiver.rule):
            if "RK109" in judged:
                yield found("RK109", manifest.run_id, place, f"{said} and is no rule of the catalogue",
                            way_out=_removal(manifest.run_id, waiver))  # fmt: skip
        elif refusal is not None:
            if "RK112" in judged:
                yield found("RK112", manifest.run_id, place, f"{said}, to no effect: {refusal}",
                            way_out=_removal(manifest.run_id, waiver))  # fmt: skip
        elif waiver.rule not in judged:
            continue
        elif not is_bound(waiver):
            yield found(
                "RK112", manifest.run_id, place,
                f"{said} and names no finding, so it waives nothing; {_found_now(open_ones, waiver.rule)}",
                way_out=_way_to_bind(manifest.run_id, waiver, open_ones),
            )  # fmt: skip
        elif not is_in_effect(waiver):
            yield found(
                "RK112", manifest.run_id, place,
                f"{said} at {waiver.place}, and its message is not the one whose digest it gives; it waives "
                f"nothing; {_found_now(open_ones, waiver.rule)}",
                way_out=_way_to_rebind(manifest.run_id, waiver, open_ones),
            )  # fmt: skip
        elif waiver.place not in unseen and not any(accepts(waiver, finding) for finding in findings):
            yield found(
                "RK109", manifest.run_id, place,
                f"{said} at {waiver.place} and is not found so in {manifest.run_id}; it was: "
                f"{_without_stop(waiver.message or '')}; {_found_now(open_ones, waiver.rule)}",
                way_out=_way_to_rebind(manifest.run_id, waiver, open_ones),
            )  # fmt: skip


def not_looked_at(manifest: Manifest, observation: RunObservation) -> frozenset[str]:
    """Return the artifacts of *manifest* that were not at hand."""
    return frozenset(
        artifact.path for artifact in manifest.sealed.artifacts if artifact.path not in observation.artifacts
    )


def assert_can_be_waived(waivers: Iterable[Waiver], *, origin: str) -> None:
    """Do nothing if findings of the rules of *waivers* can be waived.

    Raises:
        UsageError: Those of one cannot.
    """
    for waiver in waivers:
        refusal = waiver_refusal(waiver.rule)
        if refusal is not None:
            raise UsageError(f"{origin}: {refusal}; mend what it found: `runkit explain {waiver.rule}`")


def with_waived(
    waivers: Sequence[Waiver], findings: Sequence[Finding], choice: WaiverChoice, *, run_id: str
) -> Binding:
    """Return *waivers* with those of the findings of one run that *choice* means.

    A new waiver takes the place of one of its rule that names the same place and accepts nothing; one that
    names no finding goes when nothing is left that it could have meant.

    Args:
        findings: All that is found in the run, waivers applied.
    Raises:
        UsageError: None fits, several fit and one was asked for, or there is no reason.
    """
    assert_can_be_waived([Waiver(rule=choice.rule, reason="?")], origin="--waive")
    chosen = _chosen(findings, choice, run_id)
    places = {finding.place for finding in chosen}
    idle = [
        waiver
        for waiver in waivers
        if waiver.rule == choice.rule
        and (waiver.place is None or waiver.place in places)
        and not any(accepts(waiver, finding) for finding in findings)
    ]
    reason = choice.reason or next((waiver.reason for waiver in idle), None)
    if reason is None:
        raise UsageError(
            "--waive and --because go together: a finding is accepted for a stated reason; without "
            f"--because, that of the waiver which is replaced counts, and {run_id} has none of {choice.rule}"
        )
    new = tuple(waiver_of(finding, reason) for finding in chosen)
    is_all = set(_open(findings, choice.rule)) <= set(chosen)
    replaced = [waiver for waiver in idle if waiver.place is not None or is_all]
    return Binding((*(one for one in waivers if one not in replaced), *new), new)


def without(
    waivers: Sequence[Waiver], rule: str, at: str | None, *, is_every: bool, run_id: str
) -> tuple[Waiver, ...]:
    """Return *waivers* without one of *rule*, or without all that fit.

    Args:
        at: A place, the first digits of the digest of a message, or ``none`` for a waiver that names no
            finding; None: wherever.
    Raises:
        UsageError: None fits, or several fit and one was asked for.
    """
    removed = [one for one in waivers if one.rule == rule and (at is None or _is_at(one, at))]
    if not removed or (len(removed) > 1 and not is_every):
        shown = [one for one in waivers if not removed or one in removed]
        listed = ", ".join(f"{one.rule} at {_named_place(one)}" for one in shown) or "none"
        fitting = "; remove one with --at PLACE or --at DIGITS, all with --every" if removed else ""
        raise UsageError(
            f"the notes of {run_id} have {len(removed) or 'no'} waiver{'s' * (len(removed) > 1)} of {rule}"
            f"{f' at {at}' if at is not None else ''}{fitting}; there are: {listed}"
        )
    return tuple(one for one in waivers if one not in removed)


def bound(waivers: Sequence[Waiver], findings: Sequence[Finding], *, run_id: str) -> Binding:
    """Return *waivers* with those that name no finding bound to it where exactly one fits.

    Args:
        findings: All that is found in the run, waivers applied.
    """
    result: list[Waiver] = []
    new: list[Waiver] = []
    left: list[str] = []
    for waiver in waivers:
        refusal = waiver_refusal(waiver.rule)
        if is_bound(waiver):
            result.append(waiver)
            continue
        fitting = [one for one in _open(findings, waiver.rule) if not any(accepts(own, one) for own in new)]
        if refusal is None and len(fitting) == 1:
            new.append(waiver_of(fitting[0], waiver.reason))
            result.append(new[-1])
            continue
        why = refusal or _found_now(fitting, waiver.rule)
        way_out = _way_to_bind(run_id, waiver, fitting) if refusal is None else _removal(run_id, waiver)
        left.append(f"{waiver.rule} is waived ({waiver.reason}) and stays without effect: {why}; {way_out}")
        result.append(waiver)
    return Binding(tuple(result), tuple(new), tuple(left))


def waiver_of(finding: Finding, reason: str) -> Waiver:
    """Return the waiver of *finding*, and of nothing else.

    Raises:
        RecordInvalid: *reason* is empty, or a text cannot be written.
    """
    document = {
        "rule": finding.rule,
        "reason": reason,
        "place": finding.place,
        "message": finding.message,
        "message_sha256": finding.message_sha256,
    }
    return Waiver.from_mapping(document, origin=f"the waiver of {finding.rule}")


def _open(findings: Iterable[Finding], rule: str) -> list[Finding]:
    """Return what of *rule* is found and not waived, each once."""
    return list(dict.fromkeys(one for one in findings if one.rule == rule and one.waived_because is None))


def _chosen(findings: Sequence[Finding], choice: WaiverChoice, run_id: str) -> list[Finding]:
    of_rule = [finding for finding in findings if finding.rule == choice.rule]
    open_ones = _open(of_rule, choice.rule)
    fitting = [one for one in open_ones if choice.at is None or _is_at(one, choice.at)]
    if not fitting:
        at = f" at {choice.at}" if choice.at is not None else ""
        if open_ones:
            there = _listed(open_ones)
        elif of_rule:
            there = "what it has of that rule is waived already"
        else:
            others = sorted({f"{one.rule} at {one.place}" for one in findings if one.waived_because is None})
            more = [f"{len(others) - _MOST_LISTED} more"] if len(others) > _MOST_LISTED else []
            there = f"there is {', '.join(others[:_MOST_LISTED] + more) or 'nothing found in it'}"
        raise UsageError(f"{run_id} has no finding of {choice.rule}{at} to waive; {there}")
    if len(fitting) > 1 and not choice.is_every:
        raise UsageError(
            f"{run_id} has {len(fitting)} findings of {choice.rule}, and a waiver accepts one; choose with "
            f"--at PLACE or --at DIGITS, or waive each of them with --every: {_listed(fitting)}"
        )
    return fitting


def _is_at(one: Finding | Waiver, at: str) -> bool:
    digest = one.message_sha256 or ""
    is_digest = len(at) >= _SHOWN_DIGITS and digest.startswith(at.lower())
    return one.place == at or is_digest or (one.place is None and at == _NO_PLACE)


def _named_place(waiver: Waiver) -> str:
    digest = f" ({waiver.message_sha256[:_SHOWN_DIGITS]})" if waiver.message_sha256 is not None else ""
    return f"{waiver.place if waiver.place is not None else _NO_PLACE}{digest}"


def _listed(findings: Sequence[Finding]) -> str:
    shown = [
        f"{one.place} ({one.message_sha256[:_SHOWN_DIGITS]}) {_shortened(one.message)}"
        for one in findings[:_MOST_LISTED]
    ]
    num_more = len(findings) - len(shown)
    return "; ".join(shown + ([f"{num_more} more"] if num_more else []))


def _found_now(open_ones: Sequence[Finding], rule: str) -> str:
    if not open_ones:
        return f"no other finding of {rule} is there"
    if len(open_ones) == 1:
        one = open_ones[0]
        return f"one finding of {rule} is there: {one.place}: {_without_stop(one.message)}"
    return f"{len(open_ones)} findings of {rule} are there: {_listed(open_ones)}"


def _way_to_bind(run_id: str, waiver: Waiver, open_ones: Sequence[Finding]) -> str:
    if len(open_ones) == 1:
        return (
            f"Bind it with `runkit note {run_id} --migrate-waivers`; {_unwaive(run_id, waiver)} removes it."
        )
    return _way_to_rebind(run_id, waiver, open_ones)


def _way_to_rebind(run_id: str, waiver: Waiver, open_ones: Sequence[Finding]) -> str:
    if not open_ones:
        return _removal(run_id, waiver)
    same = [one for one in open_ones if waiver.place in (None, one.place)]
    named = (same or list(open_ones))[0]
    chosen = f" --at {_spelled(named, open_ones)}" if len(open_ones) > 1 else ""
    others = ", and all of them with --every" if len(open_ones) > 1 else ""
    because, reason = ("", " for the same reason") if same else (" --because REASON", "")
    return (
        f"If what is found now is meant, `runkit note {run_id} --waive {waiver.rule}{chosen}{because}` "
        f"waives it{reason}{others}; {_unwaive(run_id, waiver)} removes this waiver."
    )


def _spelled(finding: Finding, others: Sequence[Finding]) -> str:
    """Return what names *finding* alone among *others* in a command, readable where that is safe."""
    is_alone = sum(one.place == finding.place for one in others) == 1
    is_plain = shlex.quote(finding.place) == finding.place
    return finding.place if is_alone and is_plain else finding.message_sha256[:_SHOWN_DIGITS]


def _removal(run_id: str, waiver: Waiver) -> str:
    return f"{_unwaive(run_id, waiver)} removes it."


def _unwaive(run_id: str, waiver: Waiver) -> str:
    digest = waiver.message_sha256
    at = digest[:_SHOWN_DIGITS] if digest is not None else _NO_PLACE if waiver.place is None else waiver.place
    return f"`runkit note {run_id} --unwaive {waiver.rule} --at {shlex.quote(at)}`"


def _shortened(message: str) -> str:
    return message if len(message) <= _SHOWN_LETTERS else f"{message[: _SHOWN_LETTERS - 1]}…"


def _without_stop(message: str) -> str:
    return message.rstrip(".")
