"""Sentences and cells -> claims about endings, hardware, files, commands and sameness; not about scores."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal

from runkit.audit.amounts import Amount, amounts, exact
from runkit.audit.claims import (
    CommandLine,
    CommonOutput,
    Direction,
    Duration,
    Ending,
    EndingWord,
    ExactName,
    FileKinds,
    Files,
    Found,
    Gpus,
    NoCollapse,
    NoCrash,
    NotArchived,
    NumItems,
    Reached,
    Recovery,
    Role,
    RoleWord,
    Same,
    Started,
    Statement,
    Where,
    WorldSize,
)
from runkit.audit.document import Span
from runkit.audit.places import step_mentions, without, without_code
from runkit.audit.scores import RunMention, Surroundings
from runkit.audit.words import doubt_of

_SMALL = {
    "one": 1,
    "single": 1,
    "a single": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "six": 6,
    "eight": 8,
    "sixteen": 16,
    "dual": 2,
}
_ENDINGS: tuple[tuple[EndingWord, re.Pattern[str]], ...] = (
    (
        "early_stopped",
        re.compile(
            r"\bearly[- ]stopped\b|\bearly[- ]stop at \d|\bstopp(?:ed|ing) early\b|\bearly[- "
            r"]stop(?:ping)? (?:fired|triggered|kicked in|hit|ended|"
            r"occurred|at step)\b|"
            r"\bpatience (?:ran out|(?:was )?exhausted)\b|\btriggered early[- ]stopping\b",
            re.IGNORECASE,
        ),
    ),
    (
        "completed",
        re.compile(
            r"\b(?:ran|run|trained|went) to (?:completion|the (?:very )?end)\b|\b(?:was |has "
            r"|is )?completed\b(?! (?:the )?(?:analysis|eval\w*|draft|"
            r"table|section))|"
            r"\bfinish(?:ed|es)? (?:all |the full |its full |its |the "
            r"|cleanly|successfully|normally|without)|\bran (?:for )?(?:the|"
            r"its) full\b|"
            r"\bcompletes? all\b",
            re.IGNORECASE,
        ),
    ),
    (
        "truncated",
        re.compile(
            r"\btruncated\b(?! (?:outputs?|generations?|answers?|text))|"
            r"\bcut (?:off|short)\b|\b(?:was|got|been) (?:killed|interrupted|"
            r"preempted|cancelled|canceled|terminated)\b|"
            r"\bkilled (?:by|at|after|in|on)\b|"
            r"\btimed out\b|\bhit (?:the |its )?(?:wall-?time|time limit|"
            r"wall[- ]clock)\b|\bnever finished\b|\b(?:the )?log (?:simply "
            r"|just )?(?:ends|stops)\b|"
            r"\bdid not (?:finish|complete)\b|\bincomplete\b",
            re.IGNORECASE,
        ),
    ),
    (
        "crashed",
        re.compile(
            (
                r"\bcrashed\b|\bOOM(?:ed|'d|-ed)\b|\bran out of (?:GPU )?memory\b|"
                r"\bsegfault\w*\b|\bdied (?:with|at|from)\b"
            ),
            re.IGNORECASE,
        ),
    ),
)
_NOT_SAID = re.compile(
    (
        r"\b(?:can|could|would|should|if|may|might|must|to|be|when|until|"
        r"unless|whether|will|gets?)\s+(?:\w+\s+)?$"
    ),
    re.IGNORECASE,
)
_DENIED = re.compile(
    (
        r"\b(?:not|never|no|neither|nor|without|didn't|wasn't|isn't|hasn't)\s+(?:(?:been|"
        r"be|was|yet|actually|immediately)\s+)*$"
    ),
    re.IGNORECASE,
)
_FINISH_STEPS = re.compile(
    r"\b(?:finish(?:es|ed|ing)?|complete[sd]?|trained|ran|run|reach(?:es|"
    r"ed)?)\s+(?:for\s+)?(?:all\s+|the\s+|its\s+|full\s+|a\s+full\s+|"
    r"the\s+full\s+|all\s+of\s+the\s+)*"
    r"(?P<steps>\d[\d,]*(?:\.\d+)?k?)[ -](?:training |optimizer )?(?:steps?|iterations?)\b",
    re.IGNORECASE,
)
_LAST_STEP = re.compile(
    r"\b(?:(?:log|run|training|it) (?:simply |just |abruptly )?(?:ends?|"
    r"ended|stops?|stopped|halted|cut off|was (?:killed|cut off|truncated|"
    r"terminated))|cut off|truncated|killed|crashed|died|stopped early|"
    r"stopping early|early[- ]stopped|stopped)"
    r"\s+(?:\w+\s+)?(?:at|after|by|around)\s+(?P<hedge>~\s*|about )?(?:step\s+)?(?P<steps>\d["
    r"\d,]*(?:\.\d+)?k?)(?:\s*(?:/|of|out of)\s*(?P<planned>\d[\d,]*k?))?(?: "
    r"steps)?(?!\w|[.,]\d|\s*%)",
    re.IGNORECASE,
)
_LAST_STEP_FIELD = re.compile(
    r"\blast (?:training )?step(?: is| was)?\s*[:=]?\s*(?P<steps>\d[\d,]*k?)(?!\w|[.,]\d|\s*%)", re.IGNORECASE
)
_GPU = re.compile(
    r"(?:(?P<count>\b\d{1,3}|\b(?:a single|single|one|two|three|four|"
    r"six|eight|sixteen|dual))\s*(?:x|\*)?\s*[-]?)?(?:NVIDIA |Nvidia "
    r")?"
    r"(?:\b|(?<=\dx)|(?<=\sx))(?P<model>[ABHLTV]\d{2,4}s?|GH200|RTX ?\w*\d{4}|MI\d{3}X?)\b(?:[- "
    r"]?(?:SXM\d?|PCIe|HBM\d\w?))?[- ]?(?:\(?\s*(?P<memory>\d{2,3})\s*Gi?B\)?)?(?:\s*x\s*(?P<"
    r"after>\d{1,2})\b)?",
)
_GPU_COUNT = re.compile(
    (
        r"\b(?P<count>\d{1,3}|a single|single|one|two|three|four|six|eight|"
        r"sixteen)[- ](?:GPUs?|cards?|accelerators?)\b(?![- ]?(?:h\b|hours?|"
        r"min|utes))"
    ),
    re.IGNORECASE,
)
_WORLD = re.compile(
    r"\bworld[- _]size(?:\s*(?:=|:|of|was|is))?\s*`?(?P<count>\d{1,4}|one|two|four|eight)\b", re.IGNORECASE
)
_CODE = re.compile(r"`([^`]+)`")
_COMMAND = re.compile(
    r"(?:^|\s)(?:bash|sh|python3?|torchrun|accelerate launch|sbatch|srun|runkit|deepspeed)\s+\S"
)
_LAUNCHED = re.compile(
    r"\b(?:commands?|launch\w*|ran|run with|invo[ck]\w+|execut\w+|started "
    r"with|produced (?:by|with)|reproduc\w+|"
    r"submitted|trained with)\b",
    re.IGNORECASE,
)
_RUN_FILE = re.compile(
    r"(?<![\w/.{},*-])(?P<path>(?:[\w.{},*-]+/)*(?:[\w-]*train[\w-]*\.log|"
    r"summary\.log|eval_samples_step_(?:\{[^}]*\}|[\w*]+)\.jsonl|"
    r"checkpoint[\w.-]*\.(?:pt|bin|safetensors)|(?:best|last)\.safetensors|"
    r"metrics\.jsonl|config\.json|run\.json))(?![\w])"
)
_FILE_KINDS = (
    ("log", re.compile(r"`?train\.log`?s?|\b(?:training |train )logs?\b", re.IGNORECASE)),
    (
        "dump",
        re.compile(
            r"\b(?:eval(?:uation)? )?(?:JSONL )?dumps?\b|\beval(?:uation)? JSONLs?\b|eval_samples\w*",
            re.IGNORECASE,
        ),
    ),
    (
        "checkpoint",
        re.compile(
            (
                r"\b(?:model |best |final |bridge |translator )?(?:checkpoints?|"
                r"weights)\b(?! (?:selection|interval|every|evaluated))"
            ),
            re.IGNORECASE,
        ),
    ),
    ("summary", re.compile(r"`?summary\.log`?|\bsummary (?:file|log)s?\b", re.IGNORECASE)),
)
_KEPT = re.compile(
    r"\b(?:mirror(?:s|ed)?|contain(?:s|ed)?|includ(?:es|ed|e)|keep(?:s)?|"
    r"kept|preserv(?:es|ed|e)|ships?|shipped|hold(?:s)?|has|have|archiv(?:es|"
    r"ed)|bundl(?:es|ed)|"
    r"(?:is|are|was|were) (?:all )?(?:kept|preserved|available|present|archived|included|there))\b",
    re.IGNORECASE,
)
_LOST = re.compile(r"\b(?:no|not|never|without|missing|lost|absent|nor|weren't|wasn't)\b", re.IGNORECASE)
_EVERY = re.compile(
    (
        r"\b(?:every|each(?: of(?: the| these)?)?|all(?: of)?(?: the)?|"
        r"both|none of the|no)\s+(?:\w+\s+){0,2}?(?:director"
        r"(?:y|ies)|folders?|runs?|snapshots?|entr(?:y|ies))\b"
    ),
    re.IGNORECASE,
)
_EXACT = re.compile(
    (
        r"\bexact(?:ly)?\b(?:\s+\w+){0,3}\s+(?:layout|structure|director(?:y|"
        r"ies)|folders?|names?)\b|\b(?:verbatim|byte[- ]for[- ]byte|unchanged|"
        r"identical) (?:layout|director(?:y|ies)|names?)\b"
    ),
    re.IGNORECASE,
)
_QUOTED_NAME = re.compile(
    (
        r"\b(?:director(?:y|ies)|folders?|run[- ]?dir)(?: names?)?\b[^.;]{0,30}\b(?:include[ds]?|"
        r"contain(?:s|ed)?|had|has|with)\b[^.;]{0,15}\bquot(?:es|e|ation)\b"
    ),
    re.IGNORECASE,
)
_SAME = re.compile(
    r"\b(?:same|identical|equal|unchanged|matching)\s+(?P<what>(?:[\w+&/,-]+\s+){0,6}?(?:sett"
    r"ings?|config(?:uration)?s?|hardware|compute(?: footprint)?|footprint|"
    r"setup|batch(?:es)?|hyper-?parameters|outputs?|dumps?|weights))"
    r"\s+(?:as|to|like|with|of)\s+(?:in\s+|for\s+)?(?P<other>above|before|the previous run|the run above)?",
    re.IGNORECASE,
)
_IDENTICAL = re.compile(
    (
        r"\b(?:byte[- ]|bit[- ])?(?:identical|equal)\b(?: \w+){0,2}? (?:outputs?|"
        r"dumps?|files?|generations?|step-\d+ dumps?)|\b(?:outputs?|dumps?|"
        r"files?|generations?)\b[^.;]{0,40}\b(?:byte|bit)[- ](?:identical|"
        r"for[- ]bit|for[- ]byte)"
    ),
    re.IGNORECASE,
)
_COMMON = re.compile(
    r"\b(?P<share>most|all|nearly all|almost all|(?:the )?majority of|"
    r"(?:more than |over )?half of)?\s*(?:the |of the )?(?:bridged )?(?:outputs?|"
    r"answers?|generations?|samples?)\s+"
    r"(?:simply |just |were |are |all |that |merely )*(?:repeat(?:ed|"
    r"s)?|were|are|read|say|said|collapsed? (?:in)?to|is|output|emit(?:ted)?|"
    r"answered|equal(?:led)?)\s+(?:the )?(?:same )?(?:answer |number "
    r"|constant |string )?[`\"]?(?:#{2,4}\s*)?(?P<answer>-?\d[\d,.]*\d|"
    r"\d)[`\"]?",
    re.IGNORECASE,
)
_RECOVERY = re.compile(
    r"\b(?:recover(?:y|s|ed)?|rebound(?:s|ed)?|bounc(?:es|ed) back|came back)\b", re.IGNORECASE
)
_COLLAPSE = re.compile(
    (
        r"\b(?:post-peak |late |catastrophic )?collaps(?:e|ed|es|ing)\b(?! "
        r"(?:to|into) (?:a |the )?(?:constant|single))|\bcatastrophic(?:ally)? "
        r"(?:drop|decline|forgetting)\b"
    ),
    re.IGNORECASE,
)
_ITEMS = re.compile(
    r"\bn\s*=\s*(?P<n>\d[\d,]*)\b|\b(?:on|over|of|with|using)\s+(?:the\s+|"
    r"all\s+|same\s+)*(?P<count>\d[\d,]*)\s+(?:held-out\s+|test\s+|dev\s+|"
    r"eval(?:uation)?\s+|GSM8K\s+|fixed\s+)*(?:questions|items|samples|"
    r"problems|examples)\b|"
    r"\b(?P<rows>\d[\d,]*)\s+(?:eval(?:uation)?|test|dev)\s+(?:questions|items|samples|problems|examples)\b",
    re.IGNORECASE,
)
_DURATION = re.compile(
    (
        r"\b(?:took|lasted|ran(?: for)?|wall[- ]?(?:clock|time)(?: of| was|:)?|"
        r"duration(?: of| was|:)?|in|elapsed:?|runtime(?: of| was|:)?)\s+(?P<amount>(?:about "
        r"|around |roughly |just under |just over |under |over |less than "
        r"|more than |~\s*)?\d[\d.,]*)\s*(?P<unit>h(?:ours?|rs?)?|min(?:utes?|"
        r"s)?|s(?:ec(?:onds?|s)?)?)\b(?!\s*\d)"
    ),
    re.IGNORECASE,
)
_HM = re.compile(
    (
        r"\b(?:took|lasted|ran(?: for)?|wall[- ]?(?:clock|time)(?: of| was|:)?|"
        r"duration(?: of| was|:)?|in|elapsed:?|runtime(?: of| was|:)?)\s+(?:about "
        r"|~\s*)?(?P<h>\d{1,2})\s*h(?:ours?|rs?)?\s*(?P<m>\d{1,2})\s*m(?:in(?:utes?|"
        r"s)?)?\b"
    ),
    re.IGNORECASE,
)
_DATE = re.compile(
    (
        r"\b(?P<verb>started|launched|began|submitted|kicked off|ended|finished|"
        r"completed|stopped)\s+(?:on |at )?(?P<date>\d{4}-\d{2}-\d{2})(?:[ "
        r"T](?:at )?(?P<time>\d{2}:\d{2}(?::\d{2})?))?"
    ),
    re.IGNORECASE,
)
_ARROW = re.compile(
    r"\b(?P<left>[A-Z][A-Za-z0-9.-]*)(?:[ \w%.-]{0,28}?)?\s*(?:→|->|-->)\s*(?P<right>[A-Z][A-Za-z0-9.-]*)"
)
_MODELS = r"Llama|Mistral|Qwen|Gemma|Phi|Falcon|Mixtral|TinyLlama|Pythia|GPT-?2|OPT"
_ROLE = re.compile(
    (
        rf"\b(?P<model>(?:{_MODELS})[\w.-]*)(?:[ -](?P<size>\d+(?:\.\d+)?B?))?(?:[ "
        r"-](?:Instruct|chat|base))?\s*(?:(?:is |was |being )?(?:as )?(?:the "
        r")?)?(?P<role>source|target)\b(?![- ]alone (?:is|was) not)"
    ),
    re.IGNORECASE,
)
_ROLE_BEFORE = re.compile(
    (
        r"\b(?P<role>source|target)(?: model)?\s*(?:is|was|:|=)?\s*`?(?:[\w-]+/)?(?:Meta-)?(?P<mo"
        rf"del>(?:{_MODELS})[\w.-]*)"
    ),
    re.IGNORECASE,
)
_ROLE_AFTER = re.compile(
    (
        r"\b(?P<role>source|target)(?:[- ](?:alone|model|only))?(?:\s+accuracy)?\s*(?::|"
        rf"=|is|was)?\s*(?:~?\d[\d.%]*)?\s*\(\s*(?P<model>(?:{_MODELS})[\w.\- "
        r"]*?)\s*\)"
    ),
    re.IGNORECASE,
)
_GENERATOR = re.compile(
    rf"\b(?P<model>(?:{_MODELS})[\w.-]*)\s+(?:therefore |thus |then |"
    r"simply |never |not |did not |didn't |failed to |could not )*"
    r"(?:answer(?:s|ed)?|generat(?:es|ed)|decod(?:es|ed)|saw|sees|receiv(?:es|ed)|reads?)\b(?P<tail>[^.;]*)",
    re.IGNORECASE,
)
_UNSEEN = (
    (
        re.compile(
            (
                r"\b(?:embeddings?|soft tokens?|soft prompts?|latents|hidden states|"
                r"activations)\b[^.;]{0,40}\b(?:collapsed?|constant|degenerate|identical|"
                r"noisy|near-zero|saturated)\b"
            ),
            re.IGNORECASE,
        ),
        "embeddings.state",
        ("soft tokens and embeddings are not archived"),
    ),
    (
        re.compile(
            r"\b(?:behaves?|behaved|works?|worked) as (?:expected|intended|designed)\b", re.IGNORECASE
        ),
        "behaviour.as_expected",
        ("what is expected is not said, and no archived number shows it"),
    ),
    (
        re.compile(
            (
                r"\b(?:outputs?|generations?|responses?|samples?)\b[^.;]{0,40}\b(?:look(?:s|"
                r"ed)? like|restate[ds]?|resemble[ds]?|paraphras\w+|re-?encod\w+|"
                r"gibberish|fluent|coherent|incoherent|echo(?:es|ed)?)\b|\breproduc(?:es|"
                r"ed) the question\b"
            ),
            re.IGNORECASE,
        ),
        "outputs.texts",
        ("manifests keep extracted answers, not the texts of outputs"),
    ),
    (
        re.compile(r"\b(?:unstable|instability|unstably)\b", re.IGNORECASE),
        "trajectory.instability",
        (
            "evaluations of the same weights differ too, so a fall between "
            "two evaluations does not show unstable training"
        ),
    ),
    (
        re.compile(r"\b(?:is|are|was) the only\W+(?:context|input)\b|\bonly\W+context\b", re.IGNORECASE),
        "eval.only_context",
        "the input of the target is not archived",
    ),
    (
        re.compile(r"\bbecause\b[^.;]{0,30}\bwas quoted\b", re.IGNORECASE),
        "run_dir.quotes_cause",
        "the launch script is not archived",
    ),
    (
        re.compile(
            (
                r"\bgradients?\b[^.;]{0,30}\b(?:explod\w+|vanish\w+|spik\w+)\b|\bGPU[- "
                r"]hours\b|\bpeak memory\b"
            ),
            re.IGNORECASE,
        ),
        "training.internals",
        "the archive does not keep it",
    ),
)


def statements(
    text: str, offset: int, around: Surroundings, runs: Sequence[RunMention] = ()
) -> tuple[Found, ...]:
    """Return the claims in *text* that are not about scores or the configuration."""
    found = [
        *_endings(text, around),
        *_training_length(text),
        *_hardware(text, around),
        *_files(text),
        *_kinds_of_files(without(text, ((one.start, one.end) for one in runs))),
        *_commands(text, around),
        *_sameness(text, runs),
        *_outputs(text),
        *_trajectories(text),
        *_models(text),
        *_items(text),
        *_times(text),
        *_unseen(text),
    ]
    return tuple(
        Found(
            Span(one.span.start + offset, one.span.end + offset),
            one.quantity,
            one.claimed,
            one.statement,
            one.is_certain,
            one.doubt,
        )
        for one in sorted(found, key=lambda one: one.span)
    )


def _found(
    match: re.Match[str], quantity: str, statement: Statement, *, doubt: str = "", claimed: str = ""
) -> Found:
    words = " ".join((claimed or match.group()).split())
    start = match.start() + len(match.group()) - len(match.group().lstrip())
    end = match.start() + len(match.group().rstrip(" ,("))
    return Found(Span(start, end), quantity, words, statement, not doubt, doubt)


def _endings(text: str, around: Surroundings) -> Iterator[Found]:
    plain = without_code(text) if not around.is_cell else text
    doubt = doubt_of(text)
    for status, pattern in _ENDINGS:
        for match in pattern.finditer(plain):
            before = plain[: match.start()]
            if _NOT_SAID.search(before):
                continue
            step = next(
                (
                    one.steps.at[0]
                    for one in step_mentions(plain)
                    if one.steps.at and -2 <= one.start - match.end() < 12
                ),
                None,
            )
            denied = bool(_DENIED.search(before))
            reason = doubt
            if not denied and re.search(
                (
                    r"\b(?:no|not|never|nothing|without|neither|sa(?:ys?|"
                    r"id)|claim(?:s|ed)?|according|labell?ed|called|notes?|"
                    r"reported|supposed)\b[^,;.]{0,80}$"
                ),
                before,
                re.IGNORECASE,
            ):
                reason = reason or "the sentence reports or denies it in a roundabout way"
            yield _found(
                match,
                "status",
                Ending(status, step, denied),
                doubt=reason,
                claimed=f"{'not ' if denied else ''}{status}",
            )
    early = (
        re.fullmatch(r"\s*(?:(yes|✓|true)|(no|✗|-|false))\s*", plain, re.IGNORECASE)
        if around.is_cell
        else None
    )
    if early is not None and re.search(r"\bearly[- ]stop", around.label, re.IGNORECASE):
        denied = early.group(2) is not None
        told = f"{'not ' if denied else ''}early_stopped"
        yield _found(early, "status", Ending("early_stopped", None, denied), claimed=told)
    if around.is_cell and re.search(r"\bstatus\b|\boutcome\b|\bended\b", around.label, re.IGNORECASE):
        word = re.fullmatch(
            r"\W*(?:✓|done|ok|complete|finished|early[- ]stop|killed|timeout)\W*", plain, re.IGNORECASE
        )
        if word is not None:
            status = (
                "early_stopped"
                if "early" in plain.lower()
                else "truncated"
                if re.search("kill|timeout", plain, re.IGNORECASE)
                else "completed"
            )
            yield _found(word, "status", Ending(status, None, False), claimed=status)
    crash = re.search(
        r"\b(?:without|no)\b(?:\s+[\w-]+){0,3}\s+(?:OOMs?|crash(?:es)?|out[- ]of[- ]memory(?: errors?)?)\b",
        plain,
        re.IGNORECASE,
    )
    if crash is not None:
        yield _found(crash, "oom_events", NoCrash(), doubt="")


def _training_length(text: str) -> Iterator[Found]:
    doubt = doubt_of(text)
    for match in _LAST_STEP_FIELD.finditer(text):
        yield _found(match, "last_training_step", Reached(int(exact(match["steps"])), "last"), doubt=doubt)
    for match in _FINISH_STEPS.finditer(text):
        if not re.search(r"\b(?:not|never|to|before|didn't)\s+$", text[: match.start()], re.IGNORECASE):
            yield _found(
                match, "last_training_step", Reached(int(exact(match["steps"])), "reached"), doubt=doubt
            )
    for match in _LAST_STEP.finditer(text):
        if (
            match["hedge"]
            or _NOT_SAID.search(text[: match.start()])
            or re.search(r"(?:not|never)\s+$", text[: match.start()])
        ):
            continue
        yield _found(match, "last_training_step", Reached(int(exact(match["steps"])), "last"), doubt=doubt)
        if match["planned"]:
            yield _found(
                match, "planned_steps", Reached(int(exact(match["planned"])), "planned"), doubt=doubt
            )


def _hardware(text: str, around: Surroundings) -> Iterator[Found]:
    doubt = doubt_of(text)
    taken: list[tuple[int, int]] = []
    for match in _GPU.finditer(text):
        number = match["count"] or match["after"]
        count = (
            None
            if number is None
            else _SMALL.get(number.lower()) or (int(number) if number.isdigit() else None)
        )
        memory = int(match["memory"]) if match["memory"] else None
        taken.append(match.span())
        model = match["model"].rstrip("s").upper().replace(" ", "")
        yield _found(match, "gpu.model_and_count", Gpus(count, model, memory), doubt=doubt)
    for match in _GPU_COUNT.finditer(text):
        if any(start < match.end() and match.start() < end + 8 for start, end in taken):
            continue
        number = match["count"].lower()
        count = _SMALL.get(number) or (int(number) if number.isdigit() else None)
        yield _found(match, "gpu.model_and_count", Gpus(count, None, None), doubt=doubt)
    if around.is_cell and re.search(r"\bGPUs?\b", around.label):
        alone = re.fullmatch(r"\s*(\d{1,3})\s*", text)
        if alone is not None:
            yield _found(alone, "gpu.model_and_count", Gpus(int(alone.group(1)), None, None))
    for match in _WORLD.finditer(text):
        number = match["count"].lower()
        yield _found(match, "world_size", WorldSize(_SMALL.get(number) or int(number)), doubt=doubt)


def _files(text: str) -> Iterator[Found]:
    for match in _RUN_FILE.finditer(text):
        path = match["path"]
        following = text[match.end() : match.end() + 30]
        denied = bool(
            re.search(
                r"\b(?:no|missing|without|not|lost)\b[\s:]*(?:(?:checkpoint|dump|file|log|summary)\s+)?`?$",
                text[: match.start()],
                re.IGNORECASE,
            )
            or re.match(
                r"`?\s+(?:is|was|are|were)\s+(?:missing|not|never|absent|lost)", following, re.IGNORECASE
            )
        )
        name = path.rpartition("/")[2]
        kind = (
            "eval_dumps"
            if name.startswith("eval")
            else "summary_log"
            if name == "summary.log"
            else "train_log"
            if name.endswith(".log")
            else "checkpoint"
            if "checkpoint" in name or name.endswith(".safetensors")
            else "files"
        )
        yield _found(
            match,
            f"artifacts.{kind}",
            Files(path, denied),
            doubt=doubt_of(text) if kind == "checkpoint" else "",
        )


def _kinds_of_files(text: str) -> Iterator[Found]:
    every = _EVERY.search(text)
    kept = _KEPT.search(text)
    kinds = [(kind, place) for kind, pattern in _FILE_KINDS if (place := pattern.search(text)) is not None]
    if (
        kept is not None
        and kinds
        and (every is not None or len(kinds) > 1 or any(kind == "checkpoint" for kind, _ in kinds))
    ):
        doubt = doubt_of(text)
        lost = _LOST.search(text)
        if every is None and lost is not None and not any(kind == "checkpoint" for kind, _ in kinds):
            return
        if every is not None and lost is not None and lost.start() > every.end():
            doubt = doubt or "the sentence denies a part of what it lists"
        for kind, place in kinds:
            clause = text.rfind(";", 0, place.start()) + 1
            until = text.find(";", place.end())
            near = text[
                max(clause, place.start() - 40) : min(place.end() + 40, until if until >= 0 else len(text))
            ]
            denied = bool(_LOST.search(near)) and every is None
            reason = doubt or (
                "the sentence denies something" if lost is not None and not denied and every is None else ""
            )
            if kind != "checkpoint" and every is None:
                continue
            name = "checkpoints_present" if kind == "checkpoint" else f"{kind}_present"
            yield _found(
                place,
                f"artifacts.{name}",
                FileKinds((kind,), denied),
                doubt=reason,
                claimed=f"{kind} {'not ' if denied else ''}kept",
            )
    exact_name = _EXACT.search(text)
    if exact_name is not None and kept is not None:
        yield _found(exact_name, "artifacts.original_directory_name", ExactName(), doubt=doubt_of(text))
    quoted = _QUOTED_NAME.search(text)
    if quoted is not None:
        yield _found(quoted, "run_dir.quotes", ExactName(had_quotes=True), doubt="")


def _commands(text: str, around: Surroundings) -> Iterator[Found]:
    for match in _CODE.finditer(text):
        if _COMMAND.search(match.group(1)) and _LAUNCHED.search(f"{without_code(text)} {around.label}"):
            yield _found(
                match, "command", CommandLine(" ".join(match.group(1).split())), claimed=match.group(1)
            )


def _sameness(text: str, runs: Sequence[RunMention]) -> Iterator[Found]:
    doubt = doubt_of(text)
    for match in _SAME.finditer(text):
        behind = [run for run in runs if 0 <= run.start - match.end() < 20]
        others = behind[0].run_ids if behind else ("above",) if match["other"] else ()
        what = match["what"].lower()
        kinds = tuple(
            kind
            for kind, pattern in (
                ("hardware", r"hardware|compute|footprint"),
                ("batch", r"batch"),
                ("configuration", r"config|hyper|^settings|setup"),
                ("outputs", r"outputs?|dumps?"),
            )
            if re.search(pattern, what)
        )
        if not kinds or not others:
            continue
        end = behind[0].end if behind else match.end()
        for kind in kinds:
            quantity = {
                "hardware": "gpu.model_and_count",
                "batch": "config.per_device_batch",
                "configuration": "config.same",
                "outputs": "outputs.identical",
            }[kind]
            yield Found(
                Span(match.start(), end), quantity, f"same {kind}", Same((kind,), others), not doubt, doubt
            )
    identical = _IDENTICAL.search(text)
    if identical is not None and len(runs) >= 1:
        others = tuple(sorted({run_id for run in runs for run_id in run.run_ids}))
        yield _found(identical, "outputs.identical", Same(("outputs",), others), doubt=doubt)


def _outputs(text: str) -> Iterator[Found]:
    for match in _COMMON.finditer(text):
        steps = [one for one in step_mentions(text) if one.start < match.start()]
        where = Where(steps=steps[-1].steps, is_stated=True) if steps else Where()
        counted = [
            one
            for one in amounts(text[: match.start("answer")])
            if one.n is not None or one.unit == "percent"
        ]
        near = (
            counted[-1]
            if counted and match["share"] is None and match.start() - counted[-1].end < 4
            else None
        )
        if near is None and match["share"] is None:
            continue
        step = steps[-1].steps.at[0] if steps and steps[-1].steps.at else None
        quantity = f"step.{step}.modal_output" if step is not None else "modal_output"
        yield _found(
            match, quantity, CommonOutput(match["answer"].replace(",", ""), near, where), doubt=doubt_of(text)
        )


def _trajectories(text: str) -> Iterator[Found]:
    doubt = doubt_of(text)
    for match in _RECOVERY.finditer(text):
        behind = text[match.end() :]
        step = next(
            (one for one in step_mentions(behind) if one.start < 20 and (one.steps.is_after or one.steps.at)),
            None,
        )
        to: Amount | None = next(
            (
                one
                for one in amounts(behind[:40])
                if re.match(r"\s*(?:back )?(?:up )?to\s+(?:about |~\s*)?$", behind[: one.start])
            ),
            None,
        )
        final = bool(re.search(r"\bfinal\b", behind[:60], re.IGNORECASE))
        if step is not None and to is None:
            after = step.steps.low if step.steps.low is not None else step.steps.at[0]
            yield Found(
                Span(match.start(), match.end() + step.end),
                "trajectory.recovery",
                f"recovery after step {after}",
                Recovery(after, None, False),
                not doubt,
                doubt,
            )
        elif to is not None and final:
            yield Found(
                Span(match.start(), match.end() + to.end),
                "final.recovery_is_training_effect",
                f"recovered to {to.text.strip()} in the final evaluation",
                Recovery(None, to, True),
                not doubt,
                doubt,
            )
    for match in _COLLAPSE.finditer(text):
        before = text[: match.start()]
        if re.search(
            r"\b(?:no|not|without|never|avoid(?:s|ed|ing)?|free of)\s+(?:\w+\s+|any\s+)?$",
            before,
            re.IGNORECASE,
        ):
            yield _found(match, "post_peak_min.bridged_accuracy", NoCollapse(), claimed="no collapse")


def _models(text: str) -> Iterator[Found]:
    doubt = doubt_of(text)
    for match in _ARROW.finditer(text):
        left, right = match["left"], match["right"]
        if (
            re.fullmatch(_MODELS + r"|Source|Target", left, re.IGNORECASE)
            and re.fullmatch(_MODELS, right, re.IGNORECASE)
            and left.lower() != right.lower()
        ):
            yield _found(match, "config.direction", Direction(left, right), doubt=doubt)
    for match in _ROLE_AFTER.finditer(text):
        start = Span(match.start("model"), match.end("model"))
        yield Found(
            start,
            f"config.{match['role'].lower()}_model",
            match["model"],
            Role(_role(match), match["model"]),
            not doubt,
            doubt,
        )
    before = [match.span("model") for match in _ROLE_BEFORE.finditer(text)]
    for match in _ROLE_BEFORE.finditer(text):
        place = Span(match.start("model"), match.end("model"))
        yield Found(
            place,
            f"config.{match['role'].lower()}_model",
            match["model"],
            Role(_role(match), match["model"]),
            not doubt,
            doubt,
        )
    for match in _ROLE.finditer(text):
        if re.search(r"[→>]", match.group()) or any(
            start <= match.start("model") < end for start, end in before
        ):
            continue
        yield _found(
            match,
            f"config.{match['role'].lower()}_model",
            Role(_role(match), match["model"]),
            doubt=doubt,
        )
    for match in _GENERATOR.finditer(text):
        if re.search(
            r"\balone\b|\bby itself\b|\bwithout the bridge\b", match.group(), re.IGNORECASE
        ) or re.search(r"\d\s*%|\d\.\d|/\s*\d", match["tail"]):
            continue
        if re.search(r"question|prompt|text|context|answer", match.group(), re.IGNORECASE):
            yield Found(
                Span(match.start(), match.end("model")),
                "generator_model",
                match["model"],
                Role("generator", match["model"]),
                not doubt,
                doubt,
            )


def _role(match: re.Match[str]) -> RoleWord:
    return "source" if match["role"].lower() == "source" else "target"


def _items(text: str) -> Iterator[Found]:
    doubt = doubt_of(text)
    for match in _ITEMS.finditer(text):
        number = match["n"] or match["count"] or match["rows"]
        before = text[max(0, match.start() - 30) : match.start()]
        if re.search(r"\btrain\w*\b", before, re.IGNORECASE) or re.search(r"\d\s*$", before):
            continue
        yield _found(match, "eval.n", NumItems(int(number.replace(",", ""))), doubt=doubt)


def _times(text: str) -> Iterator[Found]:
    doubt = doubt_of(text)
    for match in _HM.finditer(text):
        seconds = 60 * int(match["h"]) + int(match["m"])
        amount = next(iter(amounts(f"{seconds}")))
        yield _found(match, "duration_seconds", Duration(amount, 60), doubt=doubt)
    for match in _DURATION.finditer(text):
        if any(one.start() <= match.start() < one.end() for one in _HM.finditer(text)):
            continue
        word = match.group().split()[0].lower()
        if word == "in" and not re.search(
            r"\b(?:run|training|finished|completed|done|trained)\b", text[: match.start()], re.IGNORECASE
        ):
            continue
        read = next(iter(amounts(match["amount"])), None)
        if read is None:
            continue
        unit = {"h": 3600, "m": 60, "s": 1}[match["unit"][0].lower()]
        yield _found(match, "duration_seconds", Duration(read, unit), doubt=doubt)
    for match in _DATE.finditer(text):
        is_end = re.match(r"ended|finished|completed|stopped", match["verb"], re.IGNORECASE) is not None
        which: Literal["start", "end"] = "end" if is_end else "start"
        when = match["date"] + (f"T{match['time']}" if match["time"] else "")
        yield _found(match, f"{which}ed", Started(when, which), doubt=doubt)


def _unseen(text: str) -> Iterator[Found]:
    for pattern, quantity, why in _UNSEEN:
        match = pattern.search(text)
        if match is not None:
            yield _found(match, quantity, NotArchived(why))
