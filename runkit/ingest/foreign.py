"""Facts of format 2 from what sources found, beside what is known of the run's start and end."""

from __future__ import annotations

import re
from collections.abc import Mapping

from runkit.ingest.combine import Combined
from runkit.records.manifest import Configuration, Evidence, RunFacts
from runkit.records.measurement import SYSTEM, Protocol, Score, System
from runkit.records.record import Scalar, canonical_digest

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]{4,16}\b")

_INERT_LAST_PARTS = {
    **dict.fromkeys(
        (
            "output_dir", "out_dir", "outdir", "output", "output_path", "log_dir", "logdir", "logging_dir",
            "log_path", "log_file", "save_dir", "save_path", "checkpoint_dir", "ckpt_dir", "run_dir",
            "workdir", "work_dir", "results_dir", "result_dir", "default_root_dir", "cache_dir", "tmp_dir",
            "tmpdir", "cwd",
        ),
        "a place of output",
    ),
    **dict.fromkeys(
        ("timestamp", "start_time", "started_at", "created_at", "date", "datetime", "time"), "a time stamp"
    ),
    **dict.fromkeys(("host", "hostname", "node", "nodename", "user", "username", "pid"), "where it ran"),
    **dict.fromkeys(
        ("run_name", "run_id", "exp_name", "experiment_name", "name_of_run", "wandb_run_id", "job_id"),
        "a name of the run",
    ),
    **dict.fromkeys(("verbose", "progress", "progress_bar", "disable_tqdm", "quiet"), "only printed"),
}  # fmt: skip
"""Last parts of keys that change nothing that is measured, each with the reason."""


def configuration_of(
    parameters: Mapping[str, Scalar], evidence: Evidence, *, inert: Mapping[str, str] | None = None
) -> Configuration:
    """Return the configuration of a foreign program: what counts of its own settings, and what does not."""
    no_effect = dict(inert or {})
    for key in parameters:
        reason = _INERT_LAST_PARTS.get(key.rpartition(".")[2].lower().replace("-", "_"))
        if reason is not None:
            no_effect.setdefault(key, reason)
    effective = {key: _plain(value) for key, value in parameters.items() if key not in no_effect}
    effective = dict(sorted(effective.items()))
    return Configuration(
        logged={key: str(value) for key, value in sorted(parameters.items())},
        effective=effective,
        effective_digest=canonical_digest(effective),
        inert=dict(sorted(no_effect.items())),
        evidence=evidence,
    )


def _plain(value: Scalar) -> Scalar:
    """Return *value* without the addresses of objects, which differ in every process."""
    return _ADDRESS.sub("", value) if isinstance(value, str) else value


def of_format_2(facts: RunFacts, found: Combined) -> RunFacts:
    """Return *facts* with the scores of *found* in the place of evaluations."""
    return facts.model_copy(
        update={
            "evaluations": (),
            "metrics": (),
            "scores": tuple(sorted(found.scores, key=_order)),
            "series": found.series,
            "protocol": Protocol(primary=found.primary, systems=_systems(found.scores)),
            "notices": found.notices or None,
        }
    )


def _order(score: Score) -> tuple[object, ...]:
    step = score.weights.step if score.weights.step is not None else -1
    return (score.weights.is_final, step, *score.key)


def _systems(scores: tuple[Score, ...]) -> tuple[System, ...]:
    names = sorted({score.system for score in scores})
    if names == [SYSTEM]:
        return (System(name=SYSTEM, role="trained"),)
    return tuple(System(name=name, role="trained" if name == SYSTEM else "reference") for name in names)


def settings_of_command(argv: tuple[str, ...]) -> dict[str, Scalar]:
    """Return the options of a command as settings, and what is left of it as ``command``.

    ``--name value``, ``--name=value`` and ``name=value`` are settings; an option without a value is true.
    """
    rest: list[str] = []
    settings: dict[str, Scalar] = {}
    index = 0
    while index < len(argv):
        word = argv[index]
        name, equals, value = word.partition("=")
        is_option = re.fullmatch(r"--[A-Za-z][\w.-]*", name) is not None
        is_pair = re.fullmatch(r"\+{0,2}[A-Za-z_][\w.]*", name) is not None and bool(equals)
        following = argv[index + 1] if index + 1 < len(argv) else None
        if (is_option or (is_pair and rest)) and equals:
            settings[name.lstrip("-+")] = value
        elif is_option and rest and following is not None and not _is_option(following):
            settings[name.lstrip("-")] = following
            index += 1
        elif is_option and rest:
            settings[name.lstrip("-")] = True
        else:
            rest.append(word)
        index += 1
    return {"command": " ".join(rest), **settings}


def _is_option(word: str) -> bool:
    return word.startswith("-") and re.fullmatch(r"-[0-9.].*", word) is None
