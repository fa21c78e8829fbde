"""The last weights measured twice: seeded noise gives the same answers, and unseeded noise is found."""

from __future__ import annotations

from collections.abc import Sequence

from runkit.checks.gather import gather
from runkit.checks.unseeded import UNSEEDED
from runkit.checks.view import ArchiveView
from runkit.records.manifest import Manifest
from tests.checks.builders import answers, lines, manifest_of, outcomes_for


def run(final: Sequence[str | None], **changes: object) -> list[str]:
    manifest = manifest_of("a", final=final)
    evaluations = tuple(one.model_copy(update={"noise_draw": None}) for one in manifest.sealed.evaluations)
    noisy = manifest_of("a", final=final, **({"evaluations": evaluations} | changes))
    return judged(noisy, final)


def judged(manifest: Manifest, final: Sequence[str | None]) -> list[str]:
    view = ArchiveView((manifest,), outcomes={"a": outcomes_for("a", final=final)})
    return lines(gather(view, (UNSEEDED,)))


def test_the_same_answers_are_no_finding() -> None:
    assert run(answers(12, salt="a")) == []


def test_other_answers_without_a_seed_are_noted_and_a_significant_move_is_a_warning() -> None:
    assert run(answers(10, salt="a")) == [
        "info RK505 a train.log:103: the noise of evaluations is not seeded: the last step 20 and the final "
        "evaluation have 12 and 10 of 20 correct on the same items, 10 answers differ (discordant 0:2, "
        "McNemar exact p = 0.50); where the final weights are the last ones, nothing but noise changed"
    ]
    found = run(answers(4, salt="a"))
    assert len(found) == 1
    assert found[0].startswith("warning RK505 a")
    assert "discordant 0:8, McNemar exact p = 0.01" in found[0]


def test_seeded_noise_is_not_accused() -> None:
    assert judged(manifest_of("a", final=answers(4)), answers(4)) == []


def test_a_last_step_that_was_not_evaluated_compares_nothing() -> None:
    last = manifest_of("a").sealed.training.model_copy(update={"last_step": 25})
    assert run(answers(4), training=last) == []


def test_without_outcomes_nothing_is_said() -> None:
    assert gather(ArchiveView((manifest_of("a"),)), (UNSEEDED,)) == ()
