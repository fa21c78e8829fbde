"""Sentences -> which files were kept, and how a folder is called."""

from __future__ import annotations

import re
from collections.abc import Iterator

from runkit.audit.claims import ExactName, FileKinds, Files, Found
from runkit.audit.grammar.matches import found_at
from runkit.audit.words import doubt_of

_RUN_FILE = re.compile(
    r"""
    (?<![\w/.{},*-])
    (?P<path>
        (?:[\w.{},*-]+/)*
        (?:
              [\w-]*train[\w-]*\.log | summary\.log
            | eval_samples_step_(?:\{[^}]*\}|[\w*]+)\.jsonl
            | checkpoint[\w.-]*\.(?:pt|bin|safetensors)
            | (?:best|last)\.safetensors
            | metrics\.jsonl | config\.json | run\.json
        )
    )
    (?![\w])
    """,
    re.VERBOSE,
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
            r"""
            \b
            (?:model\ |best\ |final\ |bridge\ |translator\ )?
            (?:checkpoints?|weights)\b
            (?!\ (?:selection|interval|every|evaluated))
            """,
            re.IGNORECASE | re.VERBOSE,
        ),
    ),
    ("summary", re.compile(r"`?summary\.log`?|\bsummary (?:file|log)s?\b", re.IGNORECASE)),
)


_KEPT = re.compile(
    r"""
    \b
    (?:
          mirror(?:s|ed)? | contain(?:s|ed)? | includ(?:es|ed|e) | keep(?:s)? | kept
        | preserv(?:es|ed|e) | ships? | shipped | hold(?:s)? | has | have
        | archiv(?:es|ed) | bundl(?:es|ed)
        | (?:is|are|was|were)\ (?:all\ )?
          (?:kept|preserved|available|present|archived|included|there)
    )
    \b
    """,
    re.IGNORECASE | re.VERBOSE,
)


_LOST = re.compile(r"\b(?:no|not|never|without|missing|lost|absent|nor|weren't|wasn't)\b", re.IGNORECASE)


_EVERY = re.compile(
    r"""
    \b
    (?:
          every
        | each(?:\ of(?:\ the|\ these)?)?
        | all(?:\ of)?(?:\ the)? | both | none\ of\ the | no
    )
    \s+(?:\w+\s+){0,2}?
    (?:director(?:y|ies)|folders?|runs?|snapshots?|entr(?:y|ies))
    \b
    """,
    re.IGNORECASE | re.VERBOSE,
)


_EXACT = re.compile(
    r"""
      \bexact(?:ly)?\b(?:\s+\w+){0,3}\s+
      (?:layout|structure|director(?:y|ies)|folders?|names?)
      \b | \b
      (?:verbatim|byte[- ]for[- ]byte|unchanged|identical)
      \ (?:layout|director(?:y|ies)|names?)\b
    """,
    re.IGNORECASE | re.VERBOSE,
)


_QUOTED_NAME = re.compile(
    r"""
    \b
    (?:director(?:y|ies)|folders?|run[- ]?dir)
    (?:\ names?)?\b[^.;]{0,30}\b
    (?:include[ds]?|contain(?:s|ed)?|had|has|with)
    \b[^.;]{0,15}\bquot(?:es|e|ation)\b
    """,
    re.IGNORECASE | re.VERBOSE,
)


def files(text: str) -> Iterator[Found]:
    """Yield the files of a run that *text* names."""
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
        yield found_at(
            match,
            f"artifacts.{kind}",
            Files(path, denied),
            doubt=doubt_of(text) if kind == "checkpoint" else "",
        )


def kinds_of_files(text: str) -> Iterator[Found]:
    """Yield the kinds of files that *text* says were kept or lost."""
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
            yield found_at(
                place,
                f"artifacts.{name}",
                FileKinds((kind,), denied),
                doubt=reason,
                claimed=f"{kind} {'not ' if denied else ''}kept",
            )
    exact_name = _EXACT.search(text)
    if exact_name is not None and kept is not None:
        yield found_at(exact_name, "artifacts.original_directory_name", ExactName(), doubt=doubt_of(text))
    quoted = _QUOTED_NAME.search(text)
    if quoted is not None:
        yield found_at(quoted, "run_dir.quotes", ExactName(had_quotes=True), doubt="")
