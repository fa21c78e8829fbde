"""One statement about one run -> a judgement: which function knows about which statement."""

from __future__ import annotations

from runkit.audit import claims
from runkit.audit.judging import differences, factors, facts, files, models, sameness, scores, trajectories
from runkit.audit.truth import Archive, Judgement
from runkit.records.manifest import Manifest


def judged(archive: Archive, run: Manifest, statement: claims.Statement) -> Judgement:
    """Return what *archive* says of *statement* about *run*."""
    match statement:
        case claims.Score():
            return scores.judged_score(run, statement)
        case claims.PeakStep():
            return scores.judged_peak_step(run, statement)
        case claims.Difference():
            return differences.judged_difference(archive, run, statement)
        case claims.Order():
            return differences.judged_order(archive, run, statement)
        case claims.Series():
            return scores.judged_series(run, statement)
        case claims.CommonOutput():
            return trajectories.judged_common_output(run, statement)
        case claims.Recovery():
            return trajectories.judged_recovery(run, statement)
        case claims.NoCollapse():
            return trajectories.judged_no_collapse(run, statement)
        case claims.NumItems():
            return scores.judged_items(run, statement)
        case claims.Ending():
            return facts.judged_ending(run, statement)
        case claims.Reached():
            return facts.judged_reached(run, statement)
        case claims.NoCrash():
            return facts.judged_no_crash(run, statement)
        case claims.Gpus():
            return facts.judged_gpus(run, statement)
        case claims.WorldSize():
            return facts.judged_world_size(run, statement)
        case claims.Files():
            return files.judged_files(run, statement)
        case claims.FileKinds():
            return files.judged_file_kinds(run, statement)
        case claims.ExactName():
            return files.judged_exact_name(run, statement)
        case claims.CommandLine():
            return files.judged_command(run, statement)
        case claims.Role():
            return models.judged_role(run, statement)
        case claims.Direction():
            return models.judged_direction(run, statement)
        case claims.Same():
            return sameness.judged_same(archive, run, statement)
        case claims.Duration():
            return facts.judged_duration(run, statement)
        case claims.Started():
            return facts.judged_started(run, statement)
        case claims.Setting():
            return factors.judged_setting(run, statement)
        case claims.Factor():
            return factors.judged_factor(archive, run, statement)
        case claims.Effect():
            return factors.judged_effect(archive, run, statement)
        case claims.Needs():
            return factors.judged_needs(archive, run, statement)
        case claims.NotArchived():
            return Judgement("unverifiable", "", statement.why)
