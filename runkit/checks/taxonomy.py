"""The codes for why a run went wrong, and what each means; which code fits a run is decided elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from runkit.errors import UnknownName

Confidence = Literal["proven", "likely", "possible"]
"""*proven*: a line says it, or counts do. *likely*: it follows from what stands there, and nothing that is
recorded speaks against it. *possible*: the record fits, and another cause would leave the same record."""


@dataclass(frozen=True)
class Cause:
    """One code of the taxonomy. A published code never moves to another meaning."""

    code: str
    meaning: str
    told_by: str
    """What in the record makes the rules propose it; says so when none does."""
    way_out: str


CAUSES: tuple[Cause, ...] = (
    Cause("truncated.walltime", "The scheduler ended the job at its time limit.",
          "Slurm's line DUE TO TIME LIMIT, in a run that is truncated or crashed.",
          "Ask for more time, or resume from the last checkpoint."),
    Cause("truncated.preempted", "The scheduler took the machine for another job.",
          "Slurm's line DUE TO PREEMPTION.", "Let the scheduler requeue the job, and resume."),
    Cause("truncated.interrupted", "Somebody, or the scheduler with a signal, asked the run to stop.",
          "A KeyboardInterrupt or [Interrupted] line, or the signal that `runkit run` saw.",
          "Resume the run."),
    Cause("truncated.unknown", "The log ends before the end of the run, and nothing says why.",
          "The status is truncated and no line of the log names a cause; the last step is the evidence.",
          "Look at the scheduler's accounting (sacct) before it is deleted; then run it again."),
    Cause("crash.oom", "A GPU ran out of memory.", "The out-of-memory error in a crashed run.",
          "A smaller batch, a shorter context, or a larger GPU."),
    Cause("crash.host_oom", "The machine ran out of memory and the kernel killed the run.",
          "Slurm's oom-kill line, or the shell's Killed in a crashed run.", "Ask for more memory."),
    Cause("crash.nccl", "Communication between the processes failed or timed out.",
          "An NCCL error or the watchdog's timeout.",
          "Find the rank that stopped first; unequal work between ranks needs a longer timeout."),
    Cause("crash.cuda", "A CUDA kernel failed.", "A CUDA error that is not about memory.",
          "Repeat with CUDA_LAUNCH_BLOCKING=1 to see which one."),
    Cause("crash.import", "A package is missing or does not fit.", "A ModuleNotFoundError or ImportError.",
          "Install what the line names, and pin it."),
    Cause("crash.disk_full", "The disk or the quota was full.", "No space left on device.",
          "Make room; `runkit train --resume RUN` goes on."),
    Cause("crash.node_failure", "A machine of the cluster failed.", "Slurm's line about the node.",
          "Resume."),
    Cause("crash.not_finite", "The loss became NaN or infinite.", "The line that says so in a crashed run.",
          "A smaller learning rate, or more warm-up."),
    Cause("crash.segfault", "The program accessed memory that is not its own.", "Segmentation fault.",
          "Repeat under a debugger; a package built for another system is the usual cause."),
    Cause("crash.exception", "The program ended with an error of its own.",
          "An exception that no other code is for; also an exit code that is not 0.", "Read the line."),
    Cause("eval.no_samples", "The evaluation had no samples, so its accuracies measure nothing.",
          "The line about empty sample records, in a run without any outcome.",
          "Evaluate the checkpoint again; the printed zeros are no result."),
    Cause("conditioning.duplicated_prompt",
          "The target reads the question twice: soft tokens trained to imitate it, and the text.",
          "The settings say so (teacher `prompt` with `soft_plus_text`) and the bridge is significantly "
          "worse than the target alone; outputs that repeat the question make it likely, else possible.",
          "Let the question reach the target one way only, and compare the two."),
    Cause("collapse.constant_output", "One answer stands in at least half of the outputs.",
          "The counts of the reported evaluation; it says nothing of why.",
          "Check that the conditioning reaches the target: compare with shuffled sources."),
    Cause("collapse.echo", "At least half of the outputs repeat the question and are not correct.",
          "The texts of the reported evaluation.",
          "Supervise the answer, or end the prompt before the question."),
    Cause("collapse.loop", "At least half of the outputs end in a repeated piece and are not correct.",
          "The texts of the reported evaluation.", "Train an end token; check positions and masks."),
    Cause("noise.ablation_not_distinct",
          "The run cannot be told from the control that it is meant to ablate.",
          "Equal effective configurations prove it; else the exact McNemar test finds no difference, which "
          "may also mean too few items.",
          "Call the runs replicates, or give the ablated factor a switch that has an effect."),
    Cause("underperforms.target", "The bridge is significantly worse than the target alone.",
          "The exact McNemar test on the items of the reported evaluation, p below 0.05.",
          "A negative result is a result; say it."),
    Cause("underperforms.source", "The bridge is significantly worse than the source alone.",
          "The exact McNemar test on the items of the reported evaluation, p below 0.05.",
          "A negative result is a result; say it."),
    Cause("human.mistake", "The run was started with settings that were not meant.",
          "No rule proposes it; a person says so.", "Say in the note what was meant, and supersede the run."),
    Cause("human.defect", "The code computed something else than its authors meant.",
          "No rule proposes it; a person says so.", "Name the commit that mends it, and supersede the run."),
)  # fmt: skip
"""Every code, in the order in which proposals stand: how the run ended, then why it is no good."""

_BY_CODE = MappingProxyType({cause.code: cause for cause in CAUSES})


def cause(code: str) -> Cause:
    """Return the cause called *code*.

    Raises:
        UnknownName: There is none; names the nearest one.
    """
    if code not in _BY_CODE:
        raise UnknownName.among(
            "root cause", code, _BY_CODE, way_out="`runkit explain causes` lists all of them"
        )
    return _BY_CODE[code]
