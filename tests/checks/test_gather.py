"""Waivers, order and the catalogue."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runkit.checks.catalogue import RULES, found, rule
from runkit.checks.gather import EVERY_FAMILY, concluded, fails, gather, printing_order
from runkit.checks.view import ArchiveView
from runkit.errors import UnknownName
from runkit.records.finding import SEVERITIES, Finding
from runkit.records.manifest import Notes, Waiver
from tests.checks.builders import lines, manifest_of, view_of

CODES = tuple(known.code for known in RULES)


def test_a_waived_finding_keeps_its_reason_and_does_not_fail() -> None:
    notes = Notes(claimed_status="crashed", waivers=(Waiver(rule="RK303", reason="a slip in the README"),))
    findings = gather(view_of(manifest_of(notes=notes)))
    assert [(one.rule, one.waived_because) for one in findings] == [("RK303", "a slip in the README")]
    assert not fails(findings)
    assert fails([replace(findings[0], waived_because=None)])


def test_a_waiver_that_matches_nothing_is_a_finding() -> None:
    notes = Notes(waivers=(Waiver(rule="RK303", reason="a slip in the README"),))
    assert lines(gather(view_of(manifest_of(notes=notes)))) == [
        "warning RK109 control notes.waivers.RK303: RK303 is waived (a slip in the README) and is not "
        "found in control"
    ]


def test_a_waiver_of_a_rule_that_does_not_exist_is_a_finding() -> None:
    notes = Notes(waivers=(Waiver(rule="RK999", reason="to be safe"),))
    assert lines(gather(view_of(manifest_of(notes=notes)))) == [
        "warning RK109 control notes.waivers.RK999: RK999 is waived (to be safe) and is no rule of the "
        "catalogue"
    ]


def test_a_stale_waiver_cannot_be_waived() -> None:
    notes = Notes(waivers=(Waiver(rule="RK109", reason="quiet"), Waiver(rule="RK303", reason="old")))
    assert [one.rule for one in gather(view_of(manifest_of(notes=notes)))] == ["RK109", "RK109"]


def test_a_waiver_of_a_rule_that_was_not_checked_is_not_stale() -> None:
    notes = Notes(waivers=(Waiver(rule="RK102", reason="a"), Waiver(rule="RK304", reason="b")))
    assert gather(ArchiveView((manifest_of(notes=notes),))) == ()


FINDINGS = st.lists(
    st.builds(
        found,
        st.sampled_from(CODES),
        st.sampled_from(["control", "other", ""]),
        st.just("p"),
        st.text(max_size=3),
    )
)
WAIVERS = st.lists(st.sampled_from(CODES), unique=True).map(
    lambda codes: tuple(Waiver(rule=code, reason=f"because {code}") for code in codes)
)


@given(FINDINGS, WAIVERS)
def test_a_waiver_changes_the_findings_of_its_rule_in_its_run_and_nothing_else(
    findings: list[Finding], waivers: tuple[Waiver, ...]
) -> None:
    manifest = manifest_of(notes=Notes(waivers=waivers))
    waived = {waiver.rule for waiver in waivers}
    result = concluded(findings, [manifest], judged=frozenset())
    assert sorted(replace(one, waived_because=None) for one in result) == sorted(findings)
    for one in result:
        assert (one.waived_because is not None) == (one.run_id == "control" and one.rule in waived)


@given(st.data())
def test_the_order_of_findings_is_a_function_of_the_findings(data: st.DataObject) -> None:
    findings = data.draw(FINDINGS)
    shuffled = data.draw(st.permutations(findings))
    result = concluded(shuffled, [], judged=frozenset())
    assert result == concluded(findings, [], judged=frozenset())
    ranks = [SEVERITIES.index(one.severity) for one in result]
    assert ranks == sorted(ranks)
    assert list(result) == sorted(result, key=printing_order)


def test_notes_alone_do_not_fail() -> None:
    assert not fails([found("RK410", "r", "p", "m")])
    assert fails([found("RK107", "r", "p", "m")])


def test_codes_are_sorted_unique_and_of_their_family() -> None:
    assert sorted(set(CODES)) == list(CODES)
    families = {"1": "integrity", "2": "measurement", "3": "completion", "4": "lineage", "5": "statistics"}
    assert all(known.family == families.get(known.code[2], "documents") for known in RULES)
    assert len({known.name for known in RULES}) == len(RULES)


def test_every_rule_says_what_why_and_the_way_out_in_sentences() -> None:
    for known in RULES:
        assert re.fullmatch(r"RK\d{3}", known.code)
        assert re.fullmatch(r"[a-z-]+", known.name)
        for sentence in (known.summary, known.why, known.example, known.way_out):
            assert sentence.endswith("."), (known.code, sentence)


def test_every_rule_of_a_family_is_in_the_catalogue_as_checked() -> None:
    can_be_found = frozenset[str]().union(*(family.rules for family in EVERY_FAMILY))
    verbs = {known.code for known in RULES if known.checked_by in {"validate", "lineage"}}
    assert can_be_found == verbs


def test_the_nearest_code_is_named_for_an_unknown_one() -> None:
    with pytest.raises(UnknownName) as caught:
        rule("RK991")
    assert str(caught.value) == (
        "there is no rule 'RK991'; did you mean 'RK601'; `runkit explain` lists all of them"
    )
    assert rule("rk401").name == "noop-ablation"
