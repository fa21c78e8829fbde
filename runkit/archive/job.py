"""The job of a batch system that this process belongs to, as its variables say."""

from __future__ import annotations

from collections.abc import Mapping

from runkit.records.capture import SchedulerJob


def job_in(environment: Mapping[str, str]) -> SchedulerJob | None:
    """Return the Slurm job that *environment* is of, or None.

    Each task of a step of several is told apart by its rank: each starts runkit, and each keeps a run.
    """
    job_id = environment.get("SLURM_JOB_ID", "")
    if not job_id.isdigit():
        return None
    array_job_id = environment.get("SLURM_ARRAY_JOB_ID", "")
    array_task_id = environment.get("SLURM_ARRAY_TASK_ID", "")
    is_array = array_job_id.isdigit() and array_task_id.isdigit()
    num_tasks, rank = environment.get("SLURM_STEP_NUM_TASKS", ""), environment.get("SLURM_PROCID", "")
    is_one_of_several = num_tasks.isdigit() and int(num_tasks) > 1 and rank.isdigit()
    restarts = environment.get("SLURM_RESTART_COUNT", "")
    return SchedulerJob(
        scheduler="slurm",
        job_id=job_id,
        array_job_id=array_job_id if is_array else None,
        array_task_id=array_task_id if is_array else None,
        restart_count=int(restarts) if restarts.isdigit() else 0,
        rank=int(rank) if is_one_of_several else None,
    )
