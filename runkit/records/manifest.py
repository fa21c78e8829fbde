"""The manifest of one preserved run: sealed facts, which never change, and notes, which people write.

A missing measurement is null with a reason, never 0; a number has its n. Texts of logs are not kept
here: evidence is a file and a line number.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from runkit import __version__
from runkit.errors import RecordInvalid
from runkit.records.measurement import AnswerCount, EvidenceKind, Protocol, Score, Series
from runkit.records.notice import Notice
from runkit.records.record import (
    EMPTY,
    GrownRecord,
    Record,
    RunId,
    ScalarMap,
    Sha256,
    TextMap,
    canonical_digest,
)

Status = Literal["completed", "early_stopped", "truncated", "crashed", "no_eval_samples", "unknown"]
"""How a run ended, read from its own artifacts; ``unknown`` where none of them says."""

Outcome = Literal["correct", "wrong", "invalid"]
"""What one system did on one item; invalid means that no answer could be extracted."""

NO_SAMPLES = "the log says that the evaluation had no samples"
"""Reason of an evaluation whose logged accuracies measure nothing."""

ALL_ZERO = "every accuracy in the log is exactly 0, and no sample shows that anything was measured"
"""The same, of an evaluation that has neither a dump nor an accuracy above 0."""

EARLIER_START = "only an earlier start in the same log made this evaluation"
"""Reason of an evaluation that the last start of a run did not make and did not take up."""

MEASURES_NOTHING = frozenset({NO_SAMPLES, ALL_ZERO})
"""Reasons for which a logged accuracy is no number."""

RelationKind = Literal["ablates", "follows", "supersedes", "replicates", "swaps"]

Verdict = Literal["main_result", "supporting", "negative_result", "not_publishable", "undecided"]


class Evidence(Record):
    """The line of an artifact that proves a fact."""

    path: str
    """Path of the artifact inside the run directory."""
    line: PositiveInt | None
    """Line number, counting line feeds from 1; null when the whole file is meant."""
    what: str
    """What stands there, in our words."""


class Moment(Record):
    """A point in time as the run recorded it."""

    at: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}([+-]\d{2}:\d{2})?$")
    """ISO 8601, with an offset when the run recorded one."""
    zone: str | None
    """Name of the time zone as written (``PST``), when the run wrote a name instead of an offset."""
    evidence: Evidence


class Provenance(GrownRecord):
    """Where the facts come from."""

    younger: ClassVar[frozenset[str]] = frozenset({"log_starts", "sources"})

    reader: str
    """Name of the reader of run directories: ``runkit`` or ``bridge-cluster``."""
    runkit_version: str
    logged_run_directory: str | None
    """The directory as the log names it, which may differ from the preserved name."""
    log_path: str | None
    """Path of the training log inside the run directory; null when there is none."""
    num_log_lines: NonNegativeInt
    num_log_lines_understood: NonNegativeInt
    """Lines that matched a known form; the others are kept in the artifact and not interpreted."""
    log_starts: tuple[PositiveInt, ...] = ()
    """Lines at which the log's starts begin when it holds several; the facts are those of the last one."""
    sources: tuple[str, ...] = ()
    """Names of the sources that knew some of the files, in the order of trust."""


class StatusFact(Record):
    """How the run ended, and what proves it."""

    value: Status
    reason: str
    """One sentence in our words."""
    evidence: Evidence | None
    """Null only when there is no log at all."""


class Command(GrownRecord):
    """How the run was started."""

    younger: ClassVar[frozenset[str]] = frozenset({"cwd", "dropped"})

    argv: tuple[str, ...] | None
    """Program and arguments; null when the run did not record them."""
    launcher: str | None
    """``torchrun``, ``accelerate`` or null."""
    world_size: PositiveInt | None
    environment: TextMap
    """Relevant variables; secrets are never among them."""
    missing_because: str | None
    cwd: str | None = None
    """Folder that the command was typed in; null when it was not recorded."""
    dropped: tuple[str, ...] = ()
    """Names of variables and options whose values were left out because they may be secrets."""


class RankDevice(Record):
    """Where one process of a run computed."""

    rank: NonNegativeInt
    local_rank: NonNegativeInt | None
    host: str
    visible_devices: str | None
    """``CUDA_VISIBLE_DEVICES`` of the process; null when it was not set, so that all were visible."""
    gpu: str | None
    """Name of the GPU that the process held memory on when it was seen; null when it held none."""


class Gpu(Record):
    """One kind of accelerator in the machine."""

    name: str
    count: PositiveInt
    memory_bytes: PositiveInt | None


class Hardware(GrownRecord):
    """The machine."""

    younger: ClassVar[frozenset[str]] = frozenset({"gpu_driver", "ranks"})

    gpus: tuple[Gpu, ...]
    cpu_model: str | None
    num_cpus: PositiveInt | None
    memory_bytes: PositiveInt | None
    evidence: Evidence | None
    gpu_driver: str | None = None
    """Version of the NVIDIA driver."""
    ranks: tuple[RankDevice, ...] = ()
    """The processes of a distributed run that were seen while it ran, by rank."""


class Code(GrownRecord):
    """The state of the code that ran."""

    younger: ClassVar[frozenset[str]] = frozenset({"changes", "left_out", "reapplies", "digest"})

    git_commit: str | None
    is_dirty: bool | None
    """Whether tracked or untracked files differed from the commit; null when unknown."""
    missing_because: str | None
    changes: tuple[str, ...] = ()
    """Paths in the run directory of what differed: a binary diff, and an archive of untracked files."""
    left_out: tuple[str, ...] = ()
    """Changed or untracked files that were not kept, each with the reason: too large, or may be a secret."""
    reapplies: bool | None = None
    """Whether commit and diff were put together again and gave the very tree; null when it was not tried."""
    digest: Sha256 | None = None
    """Of what differed from the commit and was kept: the diff, and untracked programs and configurations.
    Equal for
    equal code; null when nothing differed, or it was not recorded."""


class Software(GrownRecord):
    """Python and the packages that were installed."""

    younger: ClassVar[frozenset[str]] = frozenset({"packages_missing_because"})

    python_version: str | None
    packages: TextMap
    """Distribution name to version; empty when the run did not record them."""
    code: Code
    packages_missing_because: str | None = None
    """Why Python and packages of a program under ``runkit run`` are not known."""


class Arithmetic(Record):
    """How the last bit of a run's numbers came about, and whether single operations gave the known bits."""

    setting: Literal["portable", "fast"]
    """``portable``: kernels that any x86-64 processor with AVX2 computes alike; ``fast``: its own."""
    device: str
    """``cpu`` or ``cuda``."""
    threads: PositiveInt
    differing: tuple[str, ...]
    """Operations whose bits on this machine are not the known ones; none were compared on a GPU."""


class Configuration(GrownRecord):
    """What the run was told, and what of it had an effect."""

    younger: ClassVar[frozenset[str]] = frozenset({"automatic"})

    logged: TextMap
    """Every setting as the run wrote it, as text."""
    effective: ScalarMap
    """Defaults filled, paths and inert keys removed, world size and global batch included."""
    effective_digest: Sha256
    """SHA-256 of the canonical JSON of :attr:`effective`."""
    inert: TextMap
    """Keys that changed nothing in this run, each with the reason."""
    evidence: Evidence
    automatic: TextMap = Field(default_factory=lambda: EMPTY)
    """Keys that were chosen for the person, each with value and reason."""

    @model_validator(mode="after")
    def _digest_is_of_effective(self) -> Self:
        if canonical_digest(dict(self.effective)) != self.effective_digest:
            raise ValueError("effective_digest is not the digest of effective")
        return self


class ModelReference(Record):
    """One of the two frozen models of a bridge, or the model that another harness evaluated."""

    role: str = Field(min_length=1, max_length=100)
    """What it is in the run: one of the models of a bridge, or ``evaluated``."""
    name: str
    revision: str | None
    sha256: Sha256 | None
    """Digest of the weights when they were at hand."""


class DataReference(Record):
    """The items that were trained and measured on."""

    name: str
    fingerprint: Sha256 | None


class Training(Record):
    """How far training came."""

    planned_steps: NonNegativeInt | None
    last_step: NonNegativeInt | None
    """Last training step that the log shows; null when it shows none."""
    evidence: Evidence | None
    loss_steps: tuple[NonNegativeInt, ...]
    loss_values: tuple[float, ...]
    """Training loss in nats at each of :attr:`loss_steps`, as logged."""


class SystemScore(Record):
    """Three-way outcomes of one system in one evaluation, recomputed from the dump."""

    system: str
    """``source``, ``target``, ``bridged`` or the name of a control."""
    correct: NonNegativeInt
    wrong: NonNegativeInt
    invalid: NonNegativeInt
    distinct_answers: NonNegativeInt
    """Number of different extracted answers; all invalid ones together count as one."""
    most_common: tuple[AnswerCount, ...]
    """The five most common valid answers, most common first."""

    @property
    def n(self) -> int:
        """Number of items."""
        return self.correct + self.wrong + self.invalid

    @property
    def accuracy_fraction(self) -> float | None:
        """Correct of n, or None without items."""
        return self.correct / self.n if self.n else None

    @property
    def invalid_fraction(self) -> float | None:
        """Invalid of n, or None without items."""
        return self.invalid / self.n if self.n else None


class LoggedScore(Record):
    """An accuracy as a log line gives it; compared, never trusted."""

    system: str
    accuracy_fraction: NonNegativeFloat


class Evaluation(GrownRecord):
    """One evaluation of one checkpoint."""

    younger: ClassVar[frozenset[str]] = frozenset({"contradicting_log_lines"})

    label: str
    """The step as text, or ``final``."""
    step: NonNegativeInt | None
    """Training step of the weights; null when the run does not prove it."""
    split: str
    """``dev`` or ``test``: from which items."""
    n_planned: NonNegativeInt | None
    checkpoint: Literal["live", "best", "last", "unknown"]
    """Which weights were evaluated: those in training, a saved checkpoint, or not provable."""
    noise_draw: NonNegativeInt | None
    """Index of the seeded noise draw; null when the noise was not seeded."""
    dump: str | None
    """Path of the per-sample dump inside the run directory."""
    num_unreadable_rows: NonNegativeInt
    """Lines of the dump that are torn or not rows."""
    items_sha256: Sha256 | None
    """Digest of item ids, questions and gold answers in order: equal means that runs can be paired."""
    systems: tuple[SystemScore, ...]
    """Empty when there is no dump or it has no rows."""
    logged: tuple[LoggedScore, ...]
    log_line: PositiveInt | None
    missing_because: str | None
    """Why there are no outcomes; null when there are."""
    contradicting_log_lines: tuple[PositiveInt, ...] = ()
    """Lines that give the same evaluation other accuracies, as when processes disagree."""

    def score(self, system: str) -> SystemScore | None:
        """Return the score of *system*, or None when it was not measured."""
        return next((score for score in self.systems if score.system == system), None)

    def logged_accuracy(self, system: str) -> float | None:
        """Return the accuracy that the log gives for *system*, or None."""
        return next((score.accuracy_fraction for score in self.logged if score.system == system), None)

    @property
    def n(self) -> int:
        """Number of items that have outcomes."""
        return self.systems[0].n if self.systems else 0


class Metric(Record):
    """A number derived from evaluations, with what supports it."""

    name: str
    """``peak.bridged``, ``final.bridged``, ``degradation``, ``gap_to_target``, ``gain_over_source``, …"""
    value_fraction: float | None
    correct: int | None
    """Numerator over :attr:`n`; a difference of counts for derived differences."""
    n: PositiveInt | None
    steps: tuple[NonNegativeInt, ...]
    """The steps at which the value was reached; more than one for a tied peak."""
    split: str | None
    num_candidates: PositiveInt | None
    """For a peak: the number of evaluations it is the maximum of."""
    evidence: EvidenceKind | None
    missing_because: str | None

    @model_validator(mode="after")
    def _value_or_reason(self) -> Self:
        if (self.value_fraction is None) == (self.missing_because is None):
            raise ValueError("exactly one of value_fraction and missing_because must be given")
        return self


class Artifact(Record):
    """A file of the run."""

    path: str
    """Path inside the run directory, with forward slashes."""
    role: Literal["log", "dump", "summary", "config", "capture", "metrics", "checkpoint", "other"]
    size_bytes: NonNegativeInt
    sha256: Sha256
    storage: Literal["copy", "link", "reference"]
    """``copy``: in ``preserved_runs``; ``link``: there too, as a hard link to the run's own file when it was
    preserved; ``reference``: only hash and size are here."""

    @property
    def is_here(self) -> bool:
        """Whether the file lies in ``preserved_runs``."""
        return self.storage != "reference"


class MissingArtifact(Record):
    """A file that the run says it wrote, or should have written, and that was not there."""

    path: str
    role: Literal["dump", "checkpoint", "summary", "log", "other"]
    """``other``: a link, a special file or one with an unsafe name, which lay there and cannot be kept."""
    evidence: Evidence | None
    reason: str


class OutcomesReference(Record):
    """The Parquet file with per-sample outcomes, beside the manifest."""

    path: str
    sha256: Sha256
    num_rows: NonNegativeInt


class RunFacts(Record):
    """What the run directory says of the run, whoever keeps it."""

    run_id: RunId
    provenance: Provenance
    started: Moment | None
    ended: Moment | None
    duration_seconds: NonNegativeFloat | None
    status: StatusFact
    command: Command
    hardware: Hardware
    software: Software
    configuration: Configuration
    models: tuple[ModelReference, ...]
    data: DataReference
    training: Training
    evaluations: tuple[Evaluation, ...] = ()
    """In order of step, the final one last; of format 1 only."""
    metrics: tuple[Metric, ...] = ()
    """Derived from evaluations; of format 1 only."""
    missing_artifacts: tuple[MissingArtifact, ...]
    arithmetic: Arithmetic | None = None
    """Null where nobody recorded it: older runs and other programs."""
    scores: tuple[Score, ...] | None = None
    """What was measured, since format 2; null in format 1, which has evaluations and metrics."""
    series: tuple[Series, ...] | None = None
    """Values over steps, since format 2."""
    protocol: Protocol | None = None
    """Which of the numbers is the run's result, since format 2."""
    notices: tuple[Notice, ...] | None = None
    """What could not be taken, or stands twice with two values; null when there is nothing to say."""

    def evaluation(self, label: str) -> Evaluation | None:
        """Return the evaluation called *label*, or None."""
        return next((found for found in self.evaluations if found.label == label), None)

    def metric(self, name: str) -> Metric | None:
        """Return the metric called *name*, or None."""
        return next((found for found in self.metrics if found.name == name), None)

    def model(self, role: str) -> ModelReference | None:
        """Return the model in *role*, or None."""
        return next((found for found in self.models if found.role == role), None)


class GrowingFile(Record):
    """A file that was still being written when the run was preserved."""

    path: str
    kept_bytes: NonNegativeInt
    """Up to the last whole line."""
    seen_bytes: NonNegativeInt
    """Its size at that moment."""


class Snapshot(Record):
    """The moment at which a run that was still being written was preserved."""

    taken_at: str
    """ISO 8601 with offset."""
    growing: tuple[GrowingFile, ...]
    """Sorted by path; empty when no file changed while it was read."""


def status_of_snapshot(status: StatusFact) -> StatusFact:
    """Return *status* with the reason that its log ends where it does: nobody cut it off but us."""
    if status.value != "truncated":
        return status
    return status.model_copy(update={"reason": "a snapshot of a run that was still being written"})


_OF_FORMAT_1 = ("evaluations", "metrics")


class SealedFacts(RunFacts):
    """What ``preserve`` found, written once and protected by a digest.

    A field that came after the first manifests is null by default and then left out of the text and of the
    digest, so that older manifests stay what they are.
    """

    artifacts: tuple[Artifact, ...]
    """Sorted by path."""
    artifacts_location: str | None
    """For artifacts by reference: where they are, in words a reader can follow."""
    outcomes: OutcomesReference | None
    """Null only when the run has no per-sample outcomes at all."""
    snapshot: Snapshot | None = None
    """Null when nobody was writing the run any more."""
    directory_name: str | None = None
    """What the run directory was called, which readers may read a date from, bytes that are no text as
    ``\\xhh``; null when it is the run id."""

    @model_serializer(mode="wrap")
    def _without_younger_fields_at_null(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document: dict[str, Any] = serialize(self)
        for name, field in type(self).model_fields.items():
            if field.default is None and getattr(self, name) is None:
                del document[name]
        for name in _OF_FORMAT_1 if self.scores is not None else ():
            del document[name]
        return document


class Publishability(Record):
    """What a person decided this run is good for."""

    verdict: Verdict
    reason: str


class RootCause(GrownRecord):
    """Why the run went wrong, as a person confirmed it."""

    younger: ClassVar[frozenset[str]] = frozenset({"evidence", "replaces"})

    code: str
    """From the taxonomy, for example ``truncated.unknown`` or ``conditioning.duplicated_prompt``."""
    sentence: str
    evidence: tuple[Evidence, ...] = ()
    """The lines that the rules proposed the code for; empty when a person said it without them."""
    replaces: str | None = None
    """The code that the rules proposed first and that a person replaced by this one."""


class Relation(Record):
    """How this run relates to another one."""

    kind: RelationKind
    run_id: RunId
    factors: tuple[str, ...] = ()
    """For ``ablates``: the configuration keys that were meant to change."""


class Waiver(GrownRecord):
    """One finding that a person accepts, as it was found, and why; no other one of its rule."""

    younger: ClassVar[frozenset[str]] = frozenset({"place", "message", "message_sha256"})

    rule: str = Field(pattern=r"^RK\d{3}$")
    reason: str = Field(min_length=1)
    place: str | None = None
    """Where it was found; null in older notes, whose waivers name no finding and therefore waive none."""
    message: str | None = None
    """What was found there, word for word, so that a person can read what was waived."""
    message_sha256: Sha256 | None = None
    """Digest of :attr:`message` in UTF-8; a finding with another message is not waived."""


class Claim(GrownRecord):
    """What people say of the run's result, so that it can be tested."""

    younger: ClassVar[frozenset[str]] = frozenset({"measure", "by"})

    says: Literal["better", "worse", "no_difference"]
    than: str
    """A preserved run, or ``source`` or ``target`` for one of the run's own frozen models alone."""
    by_fraction: float | None = Field(default=None, gt=0, lt=1)
    """How large the difference is said to be; for ``no_difference`` the margin within which there is none."""
    measured_at: Literal["final", "peak"] = "final"
    """``peak`` when the claim rests on the best of several checkpoints."""
    measure: str | None = None
    """Selector of the measure that is meant; null: the one that both runs are judged by."""
    by: float | None = Field(default=None, gt=0)
    """As :attr:`by_fraction`, of a measure that is no fraction, in its unit."""


class Notes(GrownRecord):
    """What people say about the run; editable, and no part of the seal."""

    younger: ClassVar[frozenset[str]] = frozenset({"claims"})

    title: str | None = None
    why: str | None = None
    """Why the run was made."""
    command_as_reported: str | None = None
    """The command as a person remembers it, when the run did not record one."""
    went_wrong: str | None = None
    publishability: Publishability = Publishability(
        verdict="undecided", reason="nobody has judged this run yet"
    )
    root_cause: RootCause | None = None
    claimed_status: Status | None = None
    """How the run ended according to its authors, checked against the sealed status."""
    relations: tuple[Relation, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    claims: tuple[Claim, ...] = ()
    """What is said of the result: better, worse, or no different; tested by ``lineage``."""


class Seal(Record):
    """The digest that shows whether sealed facts were edited."""

    algorithm: Literal["sha256"]
    digest: Sha256


CURRENT_FORMAT = 2


class Manifest(Record):
    """All that a reader of the paper needs to trust one run.

    Format 1 has evaluations with counts of outcomes, format 2 has scores. Both are read, and none is turned
    into the other: :mod:`runkit.records.format1` sees the first as scores.
    """

    format: Literal[1, 2]
    sealed: SealedFacts
    seal: Seal
    """Digest of the canonical JSON of :attr:`sealed`."""
    notes: Notes

    @model_validator(mode="after")
    def _facts_are_of_format(self) -> Self:
        sealed = self.sealed
        younger = (sealed.scores, sealed.series, sealed.protocol)
        if self.format == 1 and any(one is not None for one in (*younger, sealed.notices)):
            raise ValueError("format 1 has evaluations and metrics, and no scores, series, protocol, notices")
        if self.format == 2 and (None in younger or sealed.evaluations or sealed.metrics):
            raise ValueError("format 2 has scores, series and protocol, and no evaluations and metrics")
        return self

    @classmethod
    def parse(cls, text: str | bytes, *, origin: str) -> Self:
        """Return the manifest that *text* says; errors as for any record.

        Raises:
            RecordInvalid: Also when a newer runkit made it.
        """
        try:
            return super().parse(text, origin=origin)
        except RecordInvalid as error:
            found = _format_of(text)
            if found is None or found in (1, CURRENT_FORMAT):
                raise
            why = "no runkit ever wrote that format"
            if found > CURRENT_FORMAT:
                why = f"runkit {__version__} reads formats up to {CURRENT_FORMAT}: update runkit"
            by = ", made by a newer runkit" if found > CURRENT_FORMAT else ""
            raise RecordInvalid(f"{origin} has format {found}{by}; {why}") from error

    @classmethod
    def sealing(cls, facts: SealedFacts, notes: Notes) -> Manifest:
        """Return the manifest that seals *facts*."""
        return cls(
            format=1 if facts.scores is None else 2,
            sealed=facts,
            seal=Seal(algorithm="sha256", digest=facts.content_digest()),
            notes=notes,
        )

    @property
    def run_id(self) -> str:
        """The run's name in the archive."""
        return self.sealed.run_id

    def relations(self, kind: RelationKind) -> tuple[Relation, ...]:
        """Return the relations of one *kind*."""
        return tuple(relation for relation in self.notes.relations if relation.kind == kind)


def _format_of(text: str | bytes) -> int | None:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    found = document.get("format") if isinstance(document, dict) else None
    return found if type(found) is int else None
