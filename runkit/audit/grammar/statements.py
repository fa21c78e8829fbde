"""Sentences and cells -> claims about endings, hardware, files, commands and sameness; not about scores."""

from __future__ import annotations

from collections.abc import Sequence

from runkit.audit.claims import Found
from runkit.audit.grammar.commands import commands
from runkit.audit.grammar.endings import endings, training_length
from runkit.audit.grammar.files import files, kinds_of_files
from runkit.audit.grammar.machines import machines
from runkit.audit.grammar.models import models
from runkit.audit.grammar.outputs import items, outputs
from runkit.audit.grammar.sameness import sameness
from runkit.audit.grammar.sentence import RunMention, Surroundings
from runkit.audit.grammar.times import times
from runkit.audit.grammar.trajectories import trajectories
from runkit.audit.grammar.unarchived import unseen
from runkit.audit.places import without


def statements(
    text: str, offset: int, around: Surroundings, runs: Sequence[RunMention] = ()
) -> tuple[Found, ...]:
    """Return the claims in *text* that are not about scores or the configuration."""
    found = [
        *endings(text, around),
        *training_length(text),
        *machines(text, around),
        *files(text),
        *kinds_of_files(without(text, ((one.start, one.end) for one in runs))),
        *commands(text, around),
        *sameness(text, runs),
        *outputs(text),
        *trajectories(text),
        *models(text),
        *items(text),
        *times(text),
        *unseen(text),
    ]
    return tuple(one.moved(offset) for one in sorted(found, key=lambda one: one.span))
