"""One statement about one run -> a judgement: which function knows about which statement."""

from __future__ import annotations

from runkit.audit import claims, judging_factors, judging_facts, judging_scores
from runkit.audit.truth import Archive, Judgement
from runkit.records.manifest import Manifest


def judged(archive: Archive, run: Manifest, statement: claims.Statement) -> Judgement:
    """Return what *archive* says of *statement* about *run*."""
    match statement:
        case claims.Score():
            return judging_scores.judged_score(run, statement)
        case claims.PeakStep():
            return judging_scores.judged_peak_step(run, statement)
        case claims.Difference():
            return judging_scores.judged_difference(archive, run, statement)
        case claims.Order():
            return judging_scores.judged_order(archive, run, statement)
        case claims.Series():
            return judging_scores.judged_series(run, statement)
        case claims.CommonOutput():
            return judging_scores.judged_common_output(run, statement)
        case claims.Recovery():
            return judging_scores.judged_recovery(run, statement)
        case claims.NoCollapse():
            return judging_scores.judged_no_collapse(run, statement)
        case claims.NumItems():
            return judging_scores.judged_items(run, statement)
        case claims.Ending():
            return judging_facts.judged_ending(run, statement)
        case claims.Reached():
            return judging_facts.judged_reached(run, statement)
        case claims.NoCrash():
            return judging_facts.judged_no_crash(run, statement)
        case claims.Gpus():
            return judging_facts.judged_gpus(run, statement)
        case claims.WorldSize():
            return judging_facts.judged_world_size(run, statement)
        case claims.Files():
            return judging_facts.judged_files(run, statement)
        case claims.FileKinds():
            return judging_facts.judged_file_kinds(run, statement)
        case claims.ExactName():
            return judging_facts.judged_exact_name(run, statement)
        case claims.CommandLine():
            return judging_facts.judged_command(run, statement)
        case claims.Role():
            return judging_facts.judged_role(run, statement)
        case claims.Direction():
            return judging_facts.judged_direction(run, statement)
        case claims.Same():
            return judging_facts.judged_same(archive, run, statement)
        case claims.Duration():
            return judging_facts.judged_duration(run, statement)
        case claims.Started():
            return judging_facts.judged_started(run, statement)
        case claims.Setting():
            return judging_factors.judged_setting(run, statement)
        case claims.Factor():
            return judging_factors.judged_factor(archive, run, statement)
        case claims.Effect():
            return judging_factors.judged_effect(archive, run, statement)
        case claims.Needs():
            return judging_factors.judged_needs(archive, run, statement)
        case claims.NotArchived():
            return Judgement("unverifiable", "", statement.why)
