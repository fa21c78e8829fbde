"""The vocabulary of reports about runs: which words mean which quantity. Patterns only, no grammar."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple


class Mark(NamedTuple):
    """A word with a meaning, and its place."""

    start: int
    end: int
    meaning: str


def _compiled(patterns: dict[str, str]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((meaning, re.compile(pattern, re.IGNORECASE)) for meaning, pattern in patterns.items())


_THE = r"(?:the |its |a |an |frozen |own |solo |text )*"
_BELOW = (
    r"(?:below|under|behind|short of|shy of|worse than|lower than|less "
    r"than|inferior to|underperform(?:s|ed|ing)?|"
    r"lag(?:s|ged|ging)?(?: behind)?|trail(?:s|ed|ing)?|fails? to (?:beat|match|reach|surpass|exceed)|"
    r"failed to (?:beat|match|reach|surpass|exceed)|los(?:es|t|ing) (?:to|against)|<)"
)
_ABOVE = (
    r"(?:above|over|beat(?:s|en|ing)?|exceed(?:s|ed|ing)?|better than|"
    r"higher than|ahead of|surpass(?:es|ed|ing)?|"
    r"outperform(?:s|ed|ing)?|improv(?:es|ed|ement|ing) (?:over|on|upon)|superior to|tops|topped|past|>)"
)
_SOURCE = r"source(?:[- ](?:alone|only|model|baseline|accuracy))?"
_TARGET = r"(?:target(?:[- ](?:alone|only|model|baseline|accuracy))?|solo baseline)"

SYSTEMS = _compiled(
    {
        "shuffled_source": r"\bshuffled[-_ ]source\b",
        "bridged": r"\bbridged?(?:[_ -]full)?\b|\blatents?\b|\bwith the bridge\b",
        "source": r"(?<!shuffled[-_ ])\bsource(?:[-_ ](?:alone|only|model|baseline))?\b",
        "target": r"\btarget(?:[-_ ](?:alone|only|model|baseline))?\b",
        "model:llama": r"\bllama\b",
        "model:mistral": r"\bmistral\b",
        "model:qwen": r"\bqwen\b",
        "model:gemma": r"\bgemma\b",
        "model:phi": r"\bphi-?\d\b",
    }
)
"""Systems; a model's name stands for the role that the model has in the run."""

STATS = _compiled(
    {
        "peak": (
            r"\bpeak(?:s|ed|ing)?\b|"
            r"\bbest\b(?! (?:\w+ )?(?:story|runs?|case|model|bridge|system|effort|guess|practice|baseline|"
            r"paper|candidate|row|configuration|setting|choice|final|of (?:the |our )?(?:\w+ )?runs)\b)|\bmax(?:imum|ima|ed)?\b(?: "
            r"out)?|\bhighest\b|\btop(?:s|ped) out\b|"
            r"\bnever (?:even )?(?:exceed(?:s|ed)?|surpass(?:es|ed)?|"
            r"(?:rose|got|went|climbed|goes|rises) (?:above|over|beyond|"
            r"past))\b"
        ),
        "final": (
            r"\bfinal(?:ly)?\b(?! step)|\bend(?:s|ed|ing)? (?:up )?(?:at|on|with)\b(?! step)|"
            r"\bfinish(?:es|ed|ing)? (?:at|on|with)\b(?! step)|\bat "
            r"the (?:very )?end\b|\bend[- ]of[- ]training\b"
        ),
        "last_step": r"\b(?:final|last) (?:training )?step\b|\blast in-training eval\w*\b",
        "first": (
            r"\b(?:initial(?:ly)?|untrained|before (?:any )?training|at "
            r"init(?:ialization|ialisation)?)\b"
        ),
        "lowest": r"\b(?:lowest|minimum|worst|trough|bottom(?:s|ed)?(?: out)?)\b",
    }
)

MEASURES = _compiled(
    {
        "invalid": (
            r"\b(?:had|has|have|with|gave|giv(?:es|ing)|contain(?:s|"
            r"ed)?|produc(?:es|ed)|emit(?:s|ted)?|yield(?:s|ed)?) no "
            r"(?:\w+ )?(?:answers?|numbers?|digits?)\b|"
            r"\[?\binvalid(?:s|ity)?\b\]?|\bunpars(?:e)?able\b|\bmalformed\b|"
            r"\bno[- ]answers?\b|\bnon-numeric\b|"
            r"\bwithout (?:an?|any) (?:\w+ )?(?:answer|number|digits?)\b|\bfail(?:s|ed|ing)? to parse\b"
        ),
        "valid": (
            r"(?<!in)\bvalid\b|\bparse?able\b|\b(?:emit(?:s|ted|ting)?|"
            r"produc(?:es|ed|ing)|contain(?:s|ed|ing)?|had|has|have|"
            r"with|yield(?:s|ed|ing)?|gave|generat(?:es|ed|ing)) (?:any "
            r"|an? |some |the )?(?:parse?able |valid |numeric )?"
            r"(?:digits?|numbers?|numerals?|numeric answers?|answers?)\b"
        ),
        "degradation": (
            r"\bdegrad(?:ation|ed|es|ing)\b|\bpeak\s*(?:[- ](?:to|minus|vs\.?)[- ]|→|->)\s*final\b|"
            r"\b(?:below|off|from|under|since) (?:its |the )?(?:own "
            r")?peak\b(?! of| at)|\bpost-peak (?:drop|loss|decline)\b"
        ),
        "gap_of_models": (
            r"\bgap\b(?= (?:between|of) (?:the )?(?:two )?(?:frozen )?(?:models|systems|source and |"
            r"target and |Mistral and |Llama and |the two\b|them\b))"
        ),
        "gap_to_target": rf"\bgap\b|(?:\b|(?=<)){_BELOW} {_THE}{_TARGET}\b|\bdeficit\b",
        "above_target": rf"(?:\b|(?=>)){_ABOVE} {_THE}{_TARGET}\b",
        "above_source": rf"(?:\b|(?=>)){_ABOVE} {_THE}{_SOURCE}\b|\bgain over (?:the )?source\b|\blift\b",
        "below_source": rf"(?:\b|(?=<)){_BELOW} {_THE}{_SOURCE}\b",
        "accuracy": (
            r"\bacc(?:uracy|uracies)?\b\.?|\bscor(?:e|es|ed|ing)\b|\bexact[- "
            r"]match\b|\bEM\b|\bsolve[ds]?(?: rate)?\b|"
            r"\bsuccess rate\b|\bcorrect(?:ly)?\b|\banswer(?:s|ed)? (?:right\b|(?=\d))"
        ),
    }
)

MOVES = re.compile(
    r"\b(?:dropp?(?:s|ed)|f[ae]ll(?:s|en)?|rose|rises|climb(?:s|"
    r"ed)|improv(?:es|ed)|declin(?:es|ed)|went|jump(?:s|ed)|"
    r"slid(?:es)?|collaps(?:es|ed)|recover(?:s|ed)|plateau(?:s|"
    r"ed)|hover(?:s|ed)|stabili[sz](?:es|ed)|settled|reach(?:es|"
    r"ed)|"
    r"hit|stay(?:s|ed)|remain(?:s|ed)|drift(?:s|ed))\b(?! (?:over|on|upon|the))",
    re.IGNORECASE,
)
"""Verbs of a curve; beside a number and without another quantity they speak of accuracy."""

OTHER_QUANTITIES = re.compile(
    r"\b(?!bridged_|source_|target_|final_|peak_|eval_samples)[a-z]+(?:_[a-z]+)+\b|"
    r"\bp(?:-?values?)?\s*(?==|<|>|≈|~)|\bloss(?:es)?\b|\bweights?\b|"
    r"\blr\b|\blearning rate\b|\bdropout\b|\bwarm-?up\b|"
    r"\btemperature\b|\bthreshold\b|\bpatience\b|\bstd\b|\bstandard "
    r"(?:deviation|error)\b|±|\bCI\b|\binterval\b|\bRMS\b|"
    r"\bnorms?\b|\bseeds?\b|\blayers?\b|\bdim(?:ension)?s?\b|\bheads?\b|"
    r"\bbatch\b|\bepochs?\b|\bhours?\b|\bhrs?\b|"
    r"\bminutes?\b|\bmins?\b|\bseconds?\b|\bG(?:i)?B\b|\bparam(?:eter)?s\b|"
    r"\bmemory\b|\bbudget\b|\bcfg\b|\bguidance\b|"
    r"\bperplexity\b|\bdivergence\b|\bcosine\b|\bsimilarity\b|\bcorrelation\b|"
    r"\bpower\b|\bcoefficient\b|\bscale\b|"
    r"\bratio\b|\bspeed-?up\b|\bthroughput\b|\bcompression\b|\bentropy\b|"
    r"\bdiscordant\b|\bWilson\b|\bgate\b|\bnoise\b|"
    r"\bgrad(?:ient)?s?\b|\bdecay\b|\bmargin\b|\bcost\b|\bλ|\blambda\b|\balpha\b|\bbeta\b|\bversion\b",
    re.IGNORECASE,
)
"""Words beside a number that make it something else than a score."""

DOUBTS = (
    (
        "the sentence speaks of what should, would or might be",
        re.compile(
            r"\b(?:if|should|would|could|may|might|expect(?:s|ed|ing|"
            r"ation)?|hop(?:e|es|ing)|goals?|aim(?:s|ing)?|plan(?:s|"
            r"ned|ning)?|"
            r"want(?:s|ed)?|needs? to|we need|will|unless|hypothes\w*|"
            r"predict(?:s|ed|ion)?|projected|suppose|todo|ideally|"
            r"in theory|must|require[sd]?|to reach|success criteri\w+|"
            r"whenever|whether|next run|future runs?|threshold|trigger|"
            r"milestones?|deadlines?|acceptance|criteri(?:on|a)|desired|intend(?:s|ed)?|envisag\w+|ambition|"
            r"counts? as|extrapolat\w+|suffic(?:es|ient)|break[- ]even|not run yet|"
            r"by (?:early|mid|late|(?:the )?end of)[- ](?:January|February|March|April|May|June|July|August|"
            r"September|October|November|December|next|this))\b|"
            r"\?\s*$",
            re.IGNORECASE,
        ),
    ),
    (
        "the sentence cites a number from elsewhere",
        re.compile(
            r"\b(?:et al|report(?:ed|s) (?:by|in)|published|literature|"
            r"prior work|leaderboard|model card|previous(?:ly)?|"
            r"earlier runs?|old(?:er)? (?:runs?|data|splits?)|historical(?:ly)?|state[- ]of[- ]the[- ]art|SOTA|"
            r"related work|the authors|(?:paper|results?|numbers?) (?:of|by) [A-Z]\w+|slides|"
            r"GPT-\d\w*|Claude|Gemini|DeepSeek)\b|\\cite|\[\d{1,3}\]",
            re.IGNORECASE,
        ),
    ),
    (
        "the number is a mean over several measurements",
        re.compile(
            (
                r"\b(?:on average|averag(?:e|ed|es|ing)|mean (?:of|over|"
                r"accuracy|bridged)|median|across (?:\w+ )?seeds|over \w+ "
                r"seeds)\b"
            ),
            re.IGNORECASE,
        ),
    ),
    (
        "the sentence speaks of another task or a part of the items",
        re.compile(
            r"\b(?:squad|mmlu|hotpot\w*|ag[ _]news|arc(?:-[ce])?|boolq|"
            r"hellaswag|truthfulqa|commonsenseqa|humaneval|mbpp|"
            r"sst-?2|banking77|trec|subset|first \d+|hard(?:est)? (?:items|"
            r"questions)|counting only|if (?:one|we|you) (?:only )?counts?|excluding|restricted to|"
            r"without the invalid|of the (?:parse?able|valid)|(?:first|second|last|other) (?:half|\d+) (?:items|"
            r"questions|samples)|subset|dev split|majority vote|pass@\d+|per[- ]rank|shard)\b",
            re.IGNORECASE,
        ),
    ),
)
"""Why a sentence cannot be held against an archive, and how one sees that."""

FACTORS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern, re.IGNORECASE))
    for name, pattern in {
        "prompt_alignment": r"prompt(?:[- ]alignment(?: loss)?|(?=/\w+ alignment)|[- ]anchoring)",
        "rope_projection": r"(?:RoPE|rotary)(?:[- /](?:projection|alignment|matching|layer|re-?rotation))*",
        "kl": r"KL(?:[- ](?:loss|term|re-?targeting|divergence|distillation))?",
        "info_nce": r"Info-?NCE(?: loss)?|contrastive(?: loss)?",
        "decode_loss": r"decode(?:-aware)?[- ](?:loss|term|supervision)",
        "flow": r"(?:rectified[- ])?flow(?:[- ](?:loss|matching|term))?",
        "format_loss": r"format[- ](?:loss|penalty)",
        "slot_positions": r"slot[- ]positions?",
        "source_align": r"source[- ]align(?:ment)?",
        "answer_supervision": r"answer supervision",
    }.items()
)

FACTOR_KEYS: dict[str, re.Pattern[str]] = {
    "prompt_alignment": re.compile(r"prompt_?align", re.IGNORECASE),
    "rope_projection": re.compile(r"rope|rotary", re.IGNORECASE),
    "kl": re.compile(r"(?:^|[._])kl(?:_|$)", re.IGNORECASE),
    "info_nce": re.compile(r"info_?nce|contrastive", re.IGNORECASE),
    "decode_loss": re.compile(r"decode_(?:loss_)?weight", re.IGNORECASE),
    "flow": re.compile(r"flow_weight|(?:dit|flow)_loss_weight", re.IGNORECASE),
    "format_loss": re.compile(r"format_(?:loss_)?weight", re.IGNORECASE),
    "slot_positions": re.compile(r"slot_positions", re.IGNORECASE),
    "source_align": re.compile(r"source_align", re.IGNORECASE),
    "answer_supervision": re.compile(r"answer_supervision|nll_weight", re.IGNORECASE),
}
"""Factor to the configuration keys that switch it."""

KEY_WORDS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    (
        r"(?<!global )(?<!effective )(?<!total )(?<!eval )(?<!evaluation )(?:per[- ]device )?batch(?: size)?",
        ("per_device_batch", "train.batch_size", "batch_size", "global_batch"),
        "per_device_batch",
    ),
    (r"(?:global|effective|total) batch(?: size)?", ("global_batch", "train.batch_size"), "global_batch"),
    (r"(?:learning rate|lr)", ("lr", "optim.learning_rate"), "lr"),
    (r"eval(?:uat(?:ion|ed))? every", ("eval_every", "train.eval_every_steps"), "eval_every"),
    (
        r"(?:decode(?:-aware)? loss|decode weight)(?: weight)?",
        ("decode_loss_weight", "loss.decode_weight"),
        "decode_loss_weight",
    ),
    (r"warm-?up(?: of| steps)?", ("warmup_steps", "optim.warmup_steps"), "warmup_steps"),
    (
        r"(?:early[- ]stop(?:ping)? )?patience",
        ("early_stop_patience", "train.patience_evals"),
        "early_stop_patience",
    ),
    (r"seed", ("seed",), "seed"),
    (r"(?:DiT )?depth", ("dit_depth", "bridge.depth"), "dit_depth"),
    (r"(?:InfoNCE|info_nce) weight", ("info_nce_weight", "loss.info_nce_weight"), "info_nce_weight"),
    (r"(?:flow|DiT)(?: loss)? weight", ("dit_loss_weight", "loss.flow_weight"), "dit_loss_weight"),
    (r"weight decay", ("weight_decay", "optim.weight_decay"), "weight_decay"),
    (r"soft[- ]tokens", ("bridge.num_soft_tokens", "soft_tokens"), "soft_tokens"),
)
"""Words before or after a number, and the configuration keys that they can mean."""


def marks(text: str, table: tuple[tuple[str, re.Pattern[str]], ...]) -> Iterator[Mark]:
    """Yield where *text* has words of *table*, in order; where two overlap, the longer one counts."""
    found = [
        Mark(match.start(), match.end(), meaning)
        for meaning, pattern in table
        for match in pattern.finditer(text)
    ]
    found.sort(key=lambda mark: (mark.start, mark.start - mark.end))
    place = -1
    for mark in found:
        if mark.start >= place:
            yield mark
            place = mark.end


_WEAK = re.compile(
    (
        r"\b(?:hypothes\w*|whether|needs? to|we need|require[sd]?|trigger|"
        r"threshold|could|may|might|must|want(?:s|ed)?)\b"
    ),
    re.IGNORECASE,
)
_GOAL = re.compile(
    (
        r"^\W*(?:\w+\W+){0,2}?(?:goals?|aim|plan(?:ned)?|next|todo|expect(?:ed|"
        r"ation)?|hypothes\w+|success criteri\w+)\b"
    ),
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"[;—]| - |\(|\)|\bbut\b")


def doubt_of(text: str, place: int | None = None) -> str:
    """Return why a sentence is no plain statement about a run, or an empty string.

    Args:
        place: Where the claim stands; weak words such as *whether* count only in its own clause.
    """
    why = next((why for why, pattern in DOUBTS if pattern.search(text)), "")
    if not why or place is None or _GOAL.search(text):
        return why
    edges = [0, *(match.end() for match in _CLAUSE.finditer(text)), len(text) + 1]
    clauses = [text[left:right] for left, right in pairwise(edges)]
    own = next(index for index, (left, right) in enumerate(pairwise(edges)) if left <= place < right)
    told = " ; ".join(part if index == own else _WEAK.sub("", part) for index, part in enumerate(clauses))
    return next((why for why, pattern in DOUBTS if pattern.search(told)), "")
