"""Waivers, order and the catalogue."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runkit.checks.catalogue import RULES, found, rule, waiver_refusal
from runkit.checks.gather import EVERY_FAMILY, concluded, fails, gather, printing_order
from runkit.checks.view import ArchiveView
from runkit.checks.waivers import waiver_of
from runkit.errors import UnknownName
from runkit.records.finding import NEVER_WAIVED, SEVERITIES, Finding
from runkit.records.manifest import Notes, Waiver
from tests.checks.builders import lines, manifest_of, view_of

CODES = tuple(known.code for known in RULES)


CLAIMED = found(
    "RK303",
    "control",
    "notes.claimed_status",
    "the notes claim that the run is crashed, its own artifacts say completed (train.log:104)",
)


def test_a_waived_finding_keeps_its_reason_and_does_not_fail() -> None:
    notes = Notes(claimed_status="crashed", waivers=(waiver_of(CLAIMED, "a slip in the README"),))
    findings = gather(view_of(manifest_of(notes=notes)))
    assert [(one.rule, one.waived_because) for one in findings] == [("RK303", "a slip in the README")]
    assert not fails(findings)
    assert fails([replace(findings[0], waived_because=None)])


def test_a_waiver_that_fits_nothing_is_a_finding_with_what_it_was_for() -> None:
    notes = Notes(waivers=(waiver_of(CLAIMED, "a slip in the README"),))
    (finding,) = gather(view_of(manifest_of(notes=notes)))
    assert lines([finding]) == [
        "warning RK109 control notes.waivers.RK303: RK303 is waived (a slip in the README) at "
        f"notes.claimed_status and is not found so in control; it was: {CLAIMED.message}; no other finding "
        "of RK303 is there"
    ]
    assert (
        finding.way_out
        == f"`runkit note control --unwaive RK303 --at {CLAIMED.message_sha256[:8]}` removes it."
    )


def test_a_waiver_of_a_finding_that_reads_otherwise_now_names_both() -> None:
    waiver = waiver_of(replace(CLAIMED, message="The run did not crash."), "a slip in the README")
    found_now = gather(view_of(manifest_of(notes=Notes(claimed_status="crashed", waivers=(waiver,)))))
    assert [(one.rule, one.waived_because) for one in found_now] == [("RK303", None), ("RK109", None)]
    stale = found_now[1]
    assert stale.message == (
        "RK303 is waived (a slip in the README) at notes.claimed_status and is not found so in control; it "
        "was: The run did not crash; one finding of RK303 is there: notes.claimed_status: "
        f"{found_now[0].message}"
    )
    assert "`runkit note control --waive RK303` waives it for the same reason" in stale.way_out


def test_a_waiver_that_names_no_finding_waives_none() -> None:
    notes = Notes(claimed_status="crashed", waivers=(Waiver(rule="RK303", reason="a slip"),))
    findings = gather(view_of(manifest_of(notes=notes)))
    assert [(one.rule, one.waived_because) for one in findings] == [("RK303", None), ("RK112", None)]
    assert findings[1].message == (
        "RK303 is waived (a slip) and names no finding, so it waives nothing; one finding of RK303 is there: "
        f"notes.claimed_status: {findings[0].message}"
    )
    assert "`runkit note control --migrate-waivers`" in findings[1].way_out


def test_a_waiver_whose_message_was_edited_waives_nothing() -> None:
    waiver = waiver_of(CLAIMED, "a slip").model_copy(update={"message": "something harmless"})
    findings = gather(view_of(manifest_of(notes=Notes(claimed_status="crashed", waivers=(waiver,)))))
    assert [(one.rule, one.waived_because) for one in findings] == [("RK303", None), ("RK112", None)]
    assert "its message is not the one whose digest it gives" in findings[1].message


def test_a_waiver_of_a_rule_that_does_not_exist_is_a_finding() -> None:
    notes = Notes(waivers=(Waiver(rule="RK999", reason="to be safe"),))
    assert lines(gather(view_of(manifest_of(notes=notes)))) == [
        "warning RK109 control notes.waivers.RK999: RK999 is waived (to be safe) and is no rule of the "
        "catalogue"
    ]


@pytest.mark.parametrize("code", sorted(NEVER_WAIVED | {"RK601", "RK603"} & set(CODES)))
def test_what_can_never_be_waived_stays_open_and_its_waiver_is_a_finding(code: str) -> None:
    if code not in CODES:
        return
    broken = found(code, "control", "here", "it is wrong")
    manifest = manifest_of(notes=Notes(waivers=(waiver_of(broken, "quiet"),)))
    findings = concluded([broken], [manifest], judged=frozenset({"RK112"}))
    assert {one.waived_because for one in findings} == {None}
    assert sorted(one.rule for one in findings) == sorted([code, "RK112"])


def test_a_waiver_of_a_rule_that_was_not_checked_is_not_stale() -> None:
    waiver = waiver_of(found("RK304", "control", "here", "it is wrong"), "b")
    assert gather(ArchiveView((manifest_of(notes=Notes(waivers=(waiver,))),))) == ()


FINDINGS = st.lists(
    st.builds(
        found,
        st.sampled_from(CODES),
        st.sampled_from(["control", "other", ""]),
        st.sampled_from(["p", "q"]),
        st.text(max_size=3),
    )
)


@given(FINDINGS, st.data())
def test_a_waiver_changes_the_one_finding_that_it_is_of_and_nothing_else(
    findings: list[Finding], data: st.DataObject
) -> None:
    own = [one for one in findings if one.run_id == "control"]
    waivers = tuple(
        waiver_of(one, f"because {one.rule}")
        for one in (data.draw(st.lists(st.sampled_from(own))) if own else [])
    )
    manifest = manifest_of(notes=Notes(waivers=waivers))
    meant = {(waiver.rule, waiver.place, waiver.message) for waiver in waivers}
    result = concluded(findings, [manifest], judged=frozenset())
    assert sorted(replace(one, waived_because=None) for one in result) == sorted(findings)
    for one in result:
        is_meant = one.run_id == "control" and (one.rule, one.place, one.message) in meant
        assert (one.waived_because is not None) == (is_meant and waiver_refusal(one.rule) is None)


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
