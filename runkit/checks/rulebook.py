"""The text of every rule, in the order of the codes; nothing here decides anything.

Severities follow one question. *Error*: a printed number would be false, or nobody could check it.
*Warning*: the number stands, what people conclude from it may not. *Info*: a limit that a reader should
know, and that is no fault.
"""

from __future__ import annotations

from runkit.checks.rule import Rule

RULES: tuple[Rule, ...] = (
    Rule(
        code="RK101",
        name="missing-artifact",
        family="integrity",
        severity="error",
        summary="A file that the manifest lists is not there, or cannot be read.",
        why=(
            "What cannot be read proves nothing, so every number that came from it is unsupported: an error."
        ),
        example="preserved_runs/r7/eval_samples_step_500.jsonl was deleted to save space.",
        way_out=(
            "Restore the file from a backup, or preserve the run again under a new id and let it "
            "supersede this one."
        ),
        checked_by="validate",
    ),
    Rule(
        code="RK102",
        name="changed-artifact",
        family="integrity",
        severity="error",
        summary="A file has another size or another SHA-256 than the manifest says.",
        why=(
            "The archive promises the bytes that the run wrote; one changed byte breaks the promise: an "
            "error."
        ),
        example="A dump was opened in an editor, which added a line feed at its end.",
        way_out="Restore the original bytes; a correction belongs into a new run that supersedes this one.",
        checked_by="validate",
    ),
    Rule(
        code="RK103",
        name="unlisted-file",
        family="integrity",
        severity="warning",
        summary="A file lies in the preserved directory and the manifest does not list it.",
        why="Nothing that was sealed is false, but a reader would take the file for evidence: a warning.",
        example="A notebook checkpoint was left beside train.log.",
        way_out="Move the file out of preserved_runs.",
        checked_by="validate",
    ),
    Rule(
        code="RK104",
        name="broken-seal",
        family="integrity",
        severity="error",
        summary="The sealed facts do not have the digest that their seal gives.",
        why="Facts are written once; if they were edited, none of them can be trusted: an error.",
        example="An accuracy was corrected by hand in manifests/r7.json.",
        way_out=(
            "Restore the manifest from version control; what people say belongs under notes, which are "
            "not sealed."
        ),
        checked_by="validate",
    ),
    Rule(
        code="RK105",
        name="invalid-manifest",
        family="integrity",
        severity="error",
        summary="A manifest cannot be read, or its file bears the name of another run.",
        why="A run without a readable manifest is not in the archive, whatever its folder holds: an error.",
        example="A merge left conflict markers in manifests/r7.json.",
        way_out="Restore the file from version control, under the name of its run.",
        checked_by="validate",
    ),
    Rule(
        code="RK106",
        name="escaping-path",
        family="integrity",
        severity="error",
        summary="An artifact's path is absolute, climbs out of the run directory, or is a link.",
        why="Such a path can prove a file that is not part of the archive, or none at all: an error.",
        example="train.log is a link into a scratch folder that will be emptied.",
        way_out=(
            "Preserve the run again from real files; nothing outside the run directory is part of a run."
        ),
        checked_by="validate",
    ),
    Rule(
        code="RK107",
        name="unpreserved-artifact",
        family="integrity",
        severity="warning",
        summary="The log names a checkpoint or dump that was not there to preserve.",
        why="What was recomputed stands, but the weights can never be evaluated again: a warning.",
        example=("Four of the five seed runs log that their best checkpoint was saved; none was kept."),
        way_out="Find the file and preserve the run again with it, or waive this and say that it is lost.",
        checked_by="validate",
    ),
    Rule(
        code="RK108",
        name="repaired-name",
        family="integrity",
        severity="info",
        summary="The run directory that the log names has characters that no shell should meet.",
        why="The logged name is kept as a fact and the run has a safe id, so nothing is lost: a note.",
        example='A seed run wrote into phase1_"20251116_201212": quote characters from its launch script.',
        way_out="Nothing to do for this run; quote the variable in the launch script.",
        checked_by="validate",
    ),
    Rule(
        code="RK109",
        name="stale-waiver",
        family="integrity",
        severity="warning",
        summary="A waiver in the notes fits no finding: what it was given for is gone, or reads otherwise.",
        why=(
            "A waiver accepts one finding as it was found. One that outlives it accepts nothing and tells a "
            "reader of trouble that is not there, or is another one by now: a warning."
        ),
        example="RK303 was waived, then the claim in the notes was corrected; the waiver stayed.",
        way_out=(
            "Look at what is found now: `runkit note RUN --waive RKnnn --at PLACE` lets it mean that; "
            "`runkit note RUN --unwaive RKnnn` removes it."
        ),
        checked_by="validate",
    ),
    Rule(
        code="RK110",
        name="contradicted-facts",
        family="integrity",
        severity="error",
        summary="The sealed facts or outcomes are not what the kept files say when they are read again.",
        why=(
            "A seal shows that facts were not edited since they were sealed, not that they were true then; "
            "the log and the dumps are the evidence, and against them no number stands: an error that "
            "nobody can waive. What a younger version reads beyond the sealed facts is only noted."
        ),
        example="Manifest and outcomes say 490 of 500 correct and were sealed again; the dump has 421.",
        way_out=(
            "Restore the manifest and the outcomes from version control, or preserve the run again from its "
            "files under a new id and let it supersede this one."
        ),
        checked_by="validate",
    ),
    Rule(
        code="RK111",
        name="secret-in-kept-file",
        family="integrity",
        severity="warning",
        summary="A kept file holds what looks like a secret: a token, a password, a private key.",
        why=(
            "Files are kept byte for byte, so `push` and `pack` would publish the secret with them; no "
            "number is "
            "false: a warning. Large files without text, such as weights, are not looked into."
        ),
        example="results.json of a harness has the token in its model_args.",
        way_out=(
            "Revoke the secret where it was issued. Then preserve a copy of the run without it, or waive "
            "this "
            "and say that it is revoked or none."
        ),
        checked_by="validate",
    ),
    Rule(
        code="RK112",
        name="void-waiver",
        family="integrity",
        severity="warning",
        summary=(
            "A waiver in the notes has no effect: it does not say which finding it is for, its quotation was "
            "edited, or no finding of its rule can be waived."
        ),
        why=(
            "A waiver of a whole rule would accept whatever comes later, and no reason makes a changed file "
            "or a broken seal acceptable; its author thinks that something is settled: a warning."
        ),
        example="Notes of an older version waive RK406 of a run in which four findings of that rule stand.",
        way_out=(
            "`runkit note --migrate-waivers` binds each old waiver that exactly one finding fits; "
            "`runkit note RUN --waive RKnnn --at PLACE` binds it to one of several, `--unwaive RKnnn` "
            "removes it."
        ),
        checked_by="validate",
    ),
    Rule(
        code="RK201",
        name="contradicted-accuracy",
        family="measurement",
        severity="error",
        summary="An accuracy that was logged or sealed is not the one that the per-sample outcomes give.",
        why=(
            "Two numbers for one measurement: at least one of them is false, so none may be printed: an "
            "error."
        ),
        example="The log prints 0.655; the dump has 129 correct of 200, which is 0.645.",
        way_out="Find out which of the two is wrong; a dump from another checkpoint is the usual cause.",
        checked_by="validate",
    ),
    Rule(
        code="RK202",
        name="no-samples",
        family="measurement",
        severity="error",
        summary="An evaluation has no samples; its accuracy is null, whatever the log prints.",
        why="A missing measurement that is printed as 0.000 is a false number: an error.",
        example="Thirteen later runs of the seed project log 0.000 for all three systems, over no samples.",
        way_out="Evaluate the checkpoint again, or leave the number out; never print the zero.",
        checked_by="validate",
    ),
    Rule(
        code="RK203",
        name="unexpected-sample-count",
        family="measurement",
        severity="warning",
        summary="An evaluation has another number of samples than was planned.",
        why="The number carries its own n and stays true, but it pairs badly with other runs: a warning.",
        example=(
            "187 rows in the dump of an evaluation of 200 items: one process was killed before it wrote."
        ),
        way_out="Evaluate again, or say in the paper that n is smaller.",
        checked_by="validate",
    ),
    Rule(
        code="RK204",
        name="torn-rows",
        family="measurement",
        severity="warning",
        summary="A file, or rows of it, are torn or cannot be decoded.",
        why="The readable rows count and the torn ones do not; which items are lost is chance: a warning.",
        example="The last line of eval_samples_step_500.jsonl ends in the middle of a word.",
        way_out="Have the file written again by what made it, or report the smaller n.",
        checked_by="validate",
    ),
    Rule(
        code="RK205",
        name="unpaired-evaluation",
        family="measurement",
        severity="warning",
        summary="An evaluation is in the log and has no dump, or has a dump and is not in the log.",
        why="Half of the evidence is missing, so nothing can be compared with anything: a warning.",
        example="The log gives an accuracy at step 750, and there is no eval_samples_step_750.jsonl.",
        way_out=(
            "Look for the other half before the scratch folder is emptied, then preserve the run again."
        ),
        checked_by="validate",
    ),
    Rule(
        code="RK206",
        name="moving-baseline",
        family="measurement",
        severity="warning",
        summary="A frozen model alone scores differently on the same items, within a run or between runs.",
        why=(
            "Nothing was trained, so the difference is evaluation noise, and so is as much of any other: "
            "a warning."
        ),
        example=(
            "Mistral alone has 108 of 200 on four GPUs and 103 on one; Llama 154 and 153: batch composition."
        ),
        way_out="Evaluate with a fixed batch composition, or give the difference as a noise floor.",
        checked_by="validate",
    ),
    Rule(
        code="RK207",
        name="many-invalid",
        family="measurement",
        severity="warning",
        summary=(
            "More than a fifth of the bridged outputs of a trained checkpoint have no extractable answer."
        ),
        why="Accuracy then measures the format as much as the answers: a warning.",
        example="phase2_swap_20251118_192955 has 30 % to 50 % invalid outputs at every trained evaluation.",
        way_out="Report the invalid rate beside the accuracy, and read some of the outputs.",
        checked_by="validate",
    ),
    Rule(
        code="RK208",
        name="collapsed-output",
        family="measurement",
        severity="warning",
        summary=(
            "At least half of the bridged outputs of a trained checkpoint have one answer, or repeat the "
            "question or a piece of text and are not correct."
        ),
        why=(
            "The model answers without reading the question, and a few items are right by chance: a warning."
        ),
        example="phase2_swap_20251118_213543 answers 1000 to 101 of 200 questions at step 500.",
        way_out="Do not read the accuracy of such a checkpoint as performance.",
        checked_by="validate",
    ),
    Rule(
        code="RK209",
        name="selection-on-reported-items",
        family="measurement",
        severity="warning",
        summary="The best checkpoint was chosen on the items that its final accuracy is reported on.",
        why=(
            "The final number is then a maximum and too high on average; it is still a true count: a warning."
        ),
        example=(
            "Eight evaluations on 200 test items choose the checkpoint, and the same 200 items are reported."
        ),
        way_out="Choose on items that are held out from the test, or report the last checkpoint.",
        checked_by="validate",
    ),
    Rule(
        code="RK210",
        name="no-number-read",
        family="measurement",
        severity="warning",
        summary="No number was read of a run, or not of a file that seems to hold some.",
        why=(
            "A run without a number proves nothing in a table, and nobody may notice that it has none: a "
            "warning."
        ),
        example="A directory holds results.json with keys of its own, and nothing says what they are.",
        way_out=(
            "Say in runkit.toml or with --metrics and --items of preserve what the file holds, and preserve "
            "it again."
        ),
        checked_by="validate",
    ),
    Rule(
        code="RK211",
        name="contradicting-sources",
        family="measurement",
        severity="warning",
        summary="Two places of a run directory give one thing two values.",
        why=(
            "One of the two is wrong, and which one was taken was decided by a rule and not by a person: a "
            "warning."
        ),
        example="results.json says that f1 is 0.81 and the predictions give 0.79.",
        way_out=(
            "Find out which is right, mend or remove the other, and preserve the run again; or waive it with "
            "the reason."
        ),
        checked_by="validate",
    ),
    Rule(
        code="RK212",
        name="not-finite",
        family="measurement",
        severity="warning",
        summary="Values are NaN, infinite or missing; they are kept as missing and stand in no mean.",
        why=("A mean over what is left is of other items than was planned: a warning."),
        example="Three of 200 items have the score nan.",
        way_out=("Find out why; where it is meant so, waive it with the reason."),
        checked_by="validate",
    ),
    Rule(
        code="RK301",
        name="truncated-run",
        family="completion",
        severity="error",
        summary=(
            "The run ends before its planned last step, without a final evaluation and without stopping "
            "early."
        ),
        why=(
            "It has no final number, and its last one comes from an unfinished schedule; a table that "
            "prints it compares unlike things: an error until a person waives it as a documented failure."
        ),
        example="phase2_swap_20251118_213543 ends at step 520 of 2000, line 1274 of its log.",
        way_out="Repeat the run; to keep it as a failure, `runkit note RUN --waive RK301 --because REASON`.",
        checked_by="validate",
    ),
    Rule(
        code="RK302",
        name="crashed-run",
        family="completion",
        severity="error",
        summary=(
            "The log holds a traceback, an out-of-memory error, a kill or a node failure that ended the run."
        ),
        why="As for a truncated run: there is no final number to report: an error.",
        example="torch.OutOfMemoryError at step 340.",
        way_out="Repeat the run; to keep it as a failure, `runkit note RUN --waive RK302 --because REASON`.",
        checked_by="validate",
    ),
    Rule(
        code="RK303",
        name="contradicted-status",
        family="completion",
        severity="error",
        summary="The notes claim that the run ended in another way than its own log shows.",
        why="A sentence of the paper would say something that the archive refutes: an error.",
        example=(
            "A README says that 213543 stopped early; its log is cut off at step 520 and never says so."
        ),
        way_out="Correct notes.claimed_status, and the sentence that it came from.",
        checked_by="validate",
    ),
    Rule(
        code="RK304",
        name="wrong-final-checkpoint",
        family="completion",
        severity="error",
        summary="The final evaluation is not of the checkpoint that it names.",
        why="The number would be printed under the name of weights that it was not measured on: an error.",
        example=(
            "A seed run saved its best weights at 0.680; its final outputs agree with the last step instead."
        ),
        way_out="Evaluate the saved checkpoint again: `runkit eval RUN` for runs of ours.",
        checked_by="validate",
    ),
    Rule(
        code="RK305",
        name="no-summary",
        family="completion",
        severity="info",
        summary="The run has no summary, or one in a format that is not known.",
        why="End and duration are then unknown, and no measurement depends on them: a note.",
        example="A killed launch script never wrote the end time.",
        way_out="Nothing to do; duration stays null.",
        checked_by="validate",
    ),
    Rule(
        code="RK401",
        name="noop-ablation",
        family="lineage",
        severity="error",
        summary=(
            "An ablation has the same effective configuration as its control, or the same bytes in all "
            "that was measured after training began."
        ),
        why=(
            "The row's label names a difference that does not exist, or one without any effect: an error. "
            "Runs of one configuration are replicates, and what they differ by is noise."
        ),
        example=(
            "ablB and ablC of the seed run what phase1 runs: the launch script had no switch for two factors."
        ),
        way_out="Declare the runs as replicates, and repeat the ablation with a switch that has an effect.",
        checked_by="lineage",
    ),
    Rule(
        code="RK402",
        name="factor-not-in-diff",
        family="lineage",
        severity="error",
        summary=(
            "A declared factor is not among the settings that differ from the control, or a declared swap "
            "does not exchange the models."
        ),
        why="The row would be explained by a setting that did not change: an error.",
        example="Declared: bridge.conditioning. Differing: loss.flow_weight.",
        way_out="Correct the factors in the notes, or repeat the run with the factor changed.",
        checked_by="lineage",
    ),
    Rule(
        code="RK403",
        name="confounded-ablation",
        family="lineage",
        severity="warning",
        summary=(
            "More settings differ from the control than the declared factor; or more than the seed from a "
            "run that is replicated; or more than the two models from a run that is swapped."
        ),
        why=(
            "The number stands, but it cannot be put down to one factor: a warning for settings that "
            "nobody declared, a note where several factors are declared together."
        ),
        example="Declared: bridge.conditioning. Also different: the seed.",
        way_out=(
            "Repeat the run with one setting changed, or declare all of them and call the row a joint "
            "ablation."
        ),
        checked_by="lineage",
    ),
    Rule(
        code="RK404",
        name="unknown-parent",
        family="lineage",
        severity="error",
        summary="A relation names a run that is not in the archive.",
        why="A comparison with a run that nobody can look at proves nothing: an error.",
        example="ablB ablates phase1_all_fix, which is preserved as phase1_full_20251116_201212.",
        way_out="Preserve the other run, or correct the id in the notes.",
        checked_by="lineage",
    ),
    Rule(
        code="RK405",
        name="relation-cycle",
        family="lineage",
        severity="error",
        summary="Relations lead from a run back to itself.",
        why="No run can come before itself, so at least one relation is false: an error.",
        example="a ablates b, and b follows a.",
        way_out="Remove the relation that points to the later run.",
        checked_by="lineage",
    ),
    Rule(
        code="RK406",
        name="duplicate-evidence",
        family="lineage",
        severity="error",
        summary="Two runs that are not declared as replicates have dumps with the same bytes.",
        why=(
            "One measurement would be counted twice, or a setting that differs had no effect: an error. "
            "A warning where both runs have the same effective configuration, for then they are "
            "replicates that nobody declared. Different configurations whose untrained step 0 is equal are "
            "not reported: runs with one seed start from the same weights."
        ),
        example="The step-0 dumps of phase1, ablB and ablC of the seed are byte-identical.",
        way_out="Declare the relation `replicates`, or find out which of the two folders is a copy.",
        checked_by="lineage",
    ),
    Rule(
        code="RK407",
        name="unlike-comparison",
        family="lineage",
        severity="warning",
        summary=(
            "A run and the run that it is compared with differ in items, split, evaluated weights, noise, "
            "training samples, world size or global batch."
        ),
        why="Both numbers are true, and their difference has a second cause: a warning.",
        example=(
            "phase1 saw 16,000 samples on four GPUs; the swap run on one GPU saw a quarter of that per step."
        ),
        way_out=(
            "Repeat the smaller run under the same conditions, or name the difference beside the table."
        ),
        checked_by="lineage",
    ),
    Rule(
        code="RK408",
        name="superseded-run-cited",
        family="lineage",
        severity="warning",
        summary="A relation points to a run that another run supersedes.",
        why="The old run is still true, but somebody had a reason to replace it: a warning.",
        example="An ablation names the control that was repeated with a fixed seed.",
        way_out="Point the relation to the newer run, or waive this with the reason.",
        checked_by="lineage",
    ),
    Rule(
        code="RK409",
        name="misleading-name",
        family="lineage",
        severity="warning",
        summary="The name of a run contradicts its configuration.",
        why="Names travel into papers, configurations do not: a warning.",
        example=(
            "The folder of ablB is called ablB_kl_only; its configuration has an InfoNCE weight of 0.05 and "
            "a flow weight of 0.1."
        ),
        way_out="Give the run a title that says what it is, and waive this with the reason.",
        checked_by="lineage",
    ),
    Rule(
        code="RK410",
        name="unknown-code-state",
        family="lineage",
        severity="info",
        summary="The run does not record which code it ran, or the code had changes that were not kept.",
        why="Nothing measured is false, but the run cannot be repeated with certainty: a note.",
        example="None of the five seed runs records a commit.",
        way_out="Train from a git checkout without uncommitted changes; `runkit train` records the commit.",
        checked_by="validate",
    ),
    Rule(
        code="RK411",
        name="other-arithmetic",
        family="lineage",
        severity="info",
        summary="Single operations gave other bits on the run's machine than they are known to give.",
        why="The run was asked for the arithmetic that every x86-64 processor with AVX2 computes alike, and "
        "its machine computed otherwise: its numbers are measured as well as others, and repeat on its own "
        "kind of machine only.",
        example="A program that loaded torch before runkit, so that the settings came too late.",
        way_out="Train with `runkit train` in a process of its own, on an x86-64 processor with AVX2.",
        checked_by="validate",
    ),
    Rule(
        code="RK501",
        name="inside-noise",
        family="statistics",
        severity="info",
        summary="The difference between an ablation and its control is not larger than chance.",
        why=(
            "A null result is a result and no fault of the record, so this is a note and never fails a "
            "build; a table that presents the difference as an effect has its own rule."
        ),
        example=(
            "ablB against phase1: -2.0 points on 200 items, inside the 5.0 points that three replicates show."
        ),
        way_out="Write that no difference was seen, or repeat with more items or more seeds.",
        checked_by="lineage",
    ),
    Rule(
        code="RK502",
        name="unsupported-bold",
        family="statistics",
        severity="warning",
        summary="A value is bold or called better without significance after Holm's correction.",
        why="Emphasis is a claim, and this one is not supported: a warning.",
        example="p = 0.013 in a table of six rows is 0.066 after correction.",
        way_out="Remove the emphasis; `runkit table` prints none that is not supported.",
        checked_by="lineage",
    ),
    Rule(
        code="RK503",
        name="peak-as-measurement",
        family="statistics",
        severity="warning",
        summary="The maximum over checkpoints is reported like a measurement at a fixed step.",
        why="The maximum of ten equal checkpoints is about three points too high at n = 200: a warning.",
        example="The table gives 0.710, the largest of nine evaluations, beside final accuracies.",
        way_out=(
            "Report the final accuracy, and label the maximum as selected with its number of candidates."
        ),
        checked_by="lineage",
    ),
    Rule(
        code="RK504",
        name="underpowered-design",
        family="statistics",
        severity="info",
        summary="The number of items is too small to see the claimed effect.",
        why="Nothing is false; the reader should know what could not have been found: a note.",
        example="A claim of 3 points with 200 items and 23.5 % discordant ones, which can show 9.4 points.",
        way_out="Measure on more items, or give the minimum detectable effect beside the result.",
        checked_by="lineage",
    ),
    Rule(
        code="RK505",
        name="unseeded-evaluation",
        family="statistics",
        severity="warning",
        summary="The last weights gave other answers when measured again, and noise was not seeded.",
        why=(
            "A difference between two such evaluations is read as a recovery or a degradation of the model: "
            "a "
            "warning where it is significant, a note where answers changed and the score hardly did."
        ),
        example="ablB of the seed: 135 of 200 at step 2000, 125 in the final evaluation, p = 0.04.",
        way_out="Seed the noise of evaluations, or give the spread of repeats beside the score.",
        checked_by="validate",
    ),
    Rule(
        code="RK506",
        name="untestable-claim",
        family="statistics",
        severity="error",
        summary="A claim in the notes cannot be tested.",
        why=("A claim that nothing can contradict is no claim; silence would look like a proof: an error."),
        example="A run is said to be better than another one that was measured on other items.",
        way_out=(
            "Say it of two runs that were measured by one metric on the same items, or take it out of the "
            "notes."
        ),
        checked_by="lineage",
    ),
    Rule(
        code="RK601",
        name="contradicted-prose",
        family="documents",
        severity="error",
        summary="A claim in a document contradicts the archive.",
        why=(
            "It is the kind of mistake that a reviewer finds: an error. A claim that has a second reading, "
            "or that could be about another run, is never called contradicted. Where the same facts break "
            "another rule too (the label of a no-op ablation, RK401), the verdict names it."
        ),
        example="A README says that 15 of 200 outputs have digits; 15 are invalid, 185 have an answer.",
        way_out=(
            "Correct the sentence. If it is about another run or metric, say so beside it: "
            "<!-- rk: run=ID metric=final.bridged --> in Markdown, \\rk{run=ID}{0.645} in LaTeX."
        ),
        checked_by="audit",
    ),
    Rule(
        code="RK602",
        name="unverifiable-prose",
        family="documents",
        severity="warning",
        summary="A number in a document cannot be checked from what is archived.",
        why=(
            "It may be true, and nobody can know: a warning by its nature. `runkit audit` reports it as a "
            "note, so that its exit status speaks of contradictions alone."
        ),
        example="GPU hours of a run that recorded no end.",
        way_out="Archive what proves it, or say how it is known.",
        checked_by="audit",
    ),
    Rule(
        code="RK603",
        name="stale-output",
        family="documents",
        severity="error",
        summary="A generated table, block or macro file is not what the archive would print now.",
        why="What is printed must be what is archived: an error.",
        example="A cell of paper_tables/ablation.tex was edited by hand.",
        way_out="Print it again with `runkit table` or `runkit readme`, and commit the result.",
        checked_by="table",
    ),
    Rule(
        code="RK604",
        name="metric-without-run",
        family="documents",
        severity="warning",
        summary="A document gives a metric and does not say of which run.",
        why=(
            "A number without a run cannot be traced: a warning by its nature, reported as a note by "
            "`runkit audit`."
        ),
        example="'The bridge reaches 64.5 %' in a README of five runs.",
        way_out="Name the run beside the number.",
        checked_by="audit",
    ),
)
"""Every rule, sorted by code."""
