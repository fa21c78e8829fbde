"""Sentences about what no archive of runs keeps: internals of training, texts of outputs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from runkit.audit.claims import Found, NotArchived
from runkit.audit.grammar.matches import found_at

_UNSEEN = (
    (
        re.compile(
            r"""
            \b
            (?:
                  embeddings? | soft\ tokens? | soft\ prompts? | latents
                | hidden\ states | activations
            )
            \b[^.;]{0,40}\b
            (?:collapsed?|constant|degenerate|identical|noisy|near-zero|saturated)
            \b
            """,
            re.IGNORECASE | re.VERBOSE,
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
            r"""
              \b
              (?:outputs?|generations?|responses?|samples?)
              \b[^.;]{0,40}\b
              (?:
                    look(?:s|ed)?\ like | restate[ds]? | resemble[ds]? | paraphras\w+
                  | re-?encod\w+ | gibberish | fluent | coherent | incoherent
                  | echo(?:es|ed)?
              )
              \b
            | \breproduc(?:es|ed)\ the\ question\b
            """,
            re.IGNORECASE | re.VERBOSE,
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


def unseen(text: str) -> Iterator[Found]:
    """Yield what no archive can confirm, with the reason."""
    for pattern, quantity, why in _UNSEEN:
        match = pattern.search(text)
        if match is not None:
            yield found_at(match, quantity, NotArchived(why))
