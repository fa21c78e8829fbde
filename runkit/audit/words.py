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
    return tuple(
        (meaning, re.compile(pattern, re.IGNORECASE | re.VERBOSE)) for meaning, pattern in patterns.items()
    )


_THE = r"(?:the\ |its\ |a\ |an\ |frozen\ |own\ |solo\ |text\ )*"
_BELOW = r"""
    (?:
          below | under | behind | short\ of | shy\ of | worse\ than | lower\ than
        | less\ than | inferior\ to
        | underperform(?:s|ed|ing)?
        | lag(?:s|ged|ging)?(?:\ behind)?
        | trail(?:s|ed|ing)?
        | fails?\ to\ (?:beat|match|reach|surpass|exceed)
        | failed\ to\ (?:beat|match|reach|surpass|exceed)
        | los(?:es|t|ing)\ (?:to|against)
        | <
    )
"""
_ABOVE = r"""
    (?:
          above | over | beat(?:s|en|ing)? | exceed(?:s|ed|ing)? | better\ than
        | higher\ than | ahead\ of | surpass(?:es|ed|ing)? | outperform(?:s|ed|ing)?
        | improv(?:es|ed|ement|ing)\ (?:over|on|upon)
        | superior\ to | tops | topped | past | >
    )
"""
_SOURCE = r"source(?:[-\ ](?:alone|only|model|baseline|accuracy))?"
_TARGET = r"(?:target(?:[-\ ](?:alone|only|model|baseline|accuracy))?|solo\ baseline)"

SYSTEMS = _compiled(
    {
        "shuffled_source": r"\bshuffled[-_\ ]source\b",
        "bridged": r"\bbridged?(?:[_\ -]full)?\b|\blatents?\b|\bwith\ the\ bridge\b",
        "source": r"(?<!shuffled[-_\ ])\bsource(?:[-_\ ](?:alone|only|model|baseline))?\b",
        "target": r"\btarget(?:[-_\ ](?:alone|only|model|baseline))?\b",
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
            r"""
              \bpeak(?:s|ed|ing)?\b | \bbest\b
              (?!
                  \ (?:\w+\ )?
                  (?:
                        story | runs? | case | model | bridge | system | effort | guess
                      | practice | baseline | paper | candidate | row | configuration
                      | setting | choice | final
                      | of\ (?:the\ |our\ )?(?:\w+\ )?runs
                  )
                  \b
              )
            | \bmax(?:imum|ima|ed)?\b(?:\ out)?
            | \bhighest\b | \btop(?:s|ped)\ out\b | \bnever\ (?:even\ )?
              (?:
                    exceed(?:s|ed)? | surpass(?:es|ed)?
                  | (?:rose|got|went|climbed|goes|rises)\ (?:above|over|beyond|past)
              )
              \b
        """
        ),
        "final": (
            r"""
              \bfinal(?:ly)?\b(?!\ step)
            | \bend(?:s|ed|ing)?\ (?:up\ )?(?:at|on|with)\b(?!\ step)
            | \bfinish(?:es|ed|ing)?\ (?:at|on|with)\b(?!\ step)
            | \bat\ the\ (?:very\ )?end\b
            | \bend[- ]of[- ]training\b
        """
        ),
        "last_step": r"\b(?:final|last)\ (?:training\ )?step\b|\blast\ in-training\ eval\w*\b",
        "first": (
            r"""
            \b
            (?:
                  initial(?:ly)? | untrained
                | before\ (?:any\ )?training
                | at\ init(?:ialization|ialisation)?
            )
            \b
        """
        ),
        "lowest": r"\b(?:lowest|minimum|worst|trough|bottom(?:s|ed)?(?:\ out)?)\b",
    }
)

MEASURES = _compiled(
    {
        "invalid": (
            r"""
              \b
              (?:
                    had | has | have | with | gave | giv(?:es|ing) | contain(?:s|ed)?
                  | produc(?:es|ed) | emit(?:s|ted)? | yield(?:s|ed)?
              )
              \ no\ (?:\w+\ )?(?:answers?|numbers?|digits?)\b
            | \[?\binvalid(?:s|ity)?\b\]?
            | \bunpars(?:e)?able\b | \bmalformed\b | \bno[- ]answers?\b
            | \bnon-numeric\b
            | \bwithout\ (?:an?|any)\ (?:\w+\ )?(?:answer|number|digits?)\b
            | \bfail(?:s|ed|ing)?\ to\ parse\b
        """
        ),
        "valid": (
            r"""
              (?<!in)\bvalid\b | \bparse?able\b | \b
              (?:
                    emit(?:s|ted|ting)? | produc(?:es|ed|ing) | contain(?:s|ed|ing)?
                  | had | has | have | with | yield(?:s|ed|ing)? | gave
                  | generat(?:es|ed|ing)
              )
              \ (?:any\ |an?\ |some\ |the\ )?(?:parse?able\ |valid\ |numeric\ )?
              (?:digits?|numbers?|numerals?|numeric\ answers?|answers?)
              \b
        """
        ),
        "degradation": (
            r"""
              \bdegrad(?:ation|ed|es|ing)\b
            | \bpeak\s*(?:[- ](?:to|minus|vs\.?)[- ]|→|->)\s*final\b
            | \b(?:below|off|from|under|since)\ (?:its\ |the\ )?(?:own\ )?peak\b(?!\ of|\ at)
            | \bpost-peak\ (?:drop|loss|decline)\b
        """
        ),
        "gap_of_models": (
            r"""
            \bgap\b
            (?=
                \ (?:between|of)\ (?:the\ )?(?:two\ )?(?:frozen\ )?
                (?:
                      models | systems | source\ and\  | target\ and\  | Mistral\ and[ ]
                    | Llama\ and\  | the\ two\b | them\b
                )
            )
        """
        ),
        "gap_to_target": rf"\bgap\b|(?:\b|(?=<)){_BELOW}\ {_THE}{_TARGET}\b|\bdeficit\b",
        "above_target": rf"(?:\b|(?=>)){_ABOVE}\ {_THE}{_TARGET}\b",
        "above_source": rf"(?:\b|(?=>)){_ABOVE}\ {_THE}{_SOURCE}\b|\bgain\ over\ (?:the\ )?source\b|\blift\b",
        "below_source": rf"(?:\b|(?=<)){_BELOW}\ {_THE}{_SOURCE}\b",
        "accuracy": (
            r"""
              \bacc(?:uracy|uracies)?\b\.?
            | \bscor(?:e|es|ed|ing)\b | \bexact[- ]match\b | \bEM\b
            | \bsolve[ds]?(?:\ rate)?\b
            | \bsuccess\ rate\b | \bcorrect(?:ly)?\b
            | \banswer(?:s|ed)?\ (?:right\b|(?=\d))
        """
        ),
    }
)

MOVES = re.compile(
    r"""
    \b
    (?:
          dropp?(?:s|ed) | f[ae]ll(?:s|en)? | rose | rises | climb(?:s|ed)
        | improv(?:es|ed) | declin(?:es|ed) | went | jump(?:s|ed) | slid(?:es)?
        | collaps(?:es|ed) | recover(?:s|ed) | plateau(?:s|ed) | hover(?:s|ed)
        | stabili[sz](?:es|ed) | settled | reach(?:es|ed) | hit | stay(?:s|ed)
        | remain(?:s|ed) | drift(?:s|ed)
    )
    \b(?!\ (?:over|on|upon|the))
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Verbs of a curve; beside a number and without another quantity they speak of accuracy."""

OTHER_QUANTITIES = re.compile(
    r"""
      \b(?!bridged_|source_|target_|final_|peak_|eval_samples)[a-z]+(?:_[a-z]+)+\b
    | \bp(?:-?values?)?\s*(?==|<|>|≈|~)
    | \bloss(?:es)?\b | \bweights?\b | \blr\b | \blearning\ rate\b | \bdropout\b
    | \bwarm-?up\b | \btemperature\b | \bthreshold\b | \bpatience\b | \bstd\b
    | \bstandard\ (?:deviation|error)\b
    | ± | \bCI\b | \binterval\b | \bRMS\b | \bnorms?\b | \bseeds?\b | \blayers?\b
    | \bdim(?:ension)?s?\b | \bheads?\b | \bbatch\b | \bepochs?\b | \bhours?\b
    | \bhrs?\b | \bminutes?\b | \bmins?\b | \bseconds?\b | \bG(?:i)?B\b
    | \bparam(?:eter)?s\b | \bmemory\b | \bbudget\b | \bcfg\b | \bguidance\b
    | \bperplexity\b | \bdivergence\b | \bcosine\b | \bsimilarity\b | \bcorrelation\b
    | \bpower\b | \bcoefficient\b | \bscale\b | \bratio\b | \bspeed-?up\b
    | \bthroughput\b | \bcompression\b | \bentropy\b | \bdiscordant\b | \bWilson\b
    | \bgate\b | \bnoise\b | \bgrad(?:ient)?s?\b | \bdecay\b | \bmargin\b | \bcost\b
    | \bλ | \blambda\b | \balpha\b | \bbeta\b | \bversion\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Words beside a number that make it something else than a score."""

DOUBTS = (
    ("the item is still to be done", re.compile(r"^[\s*+-]*\[ \]")),
    (
        "the sentence tells what somebody said",
        re.compile(
            r"""
              \b(?:I|we|they|he|she|you|somebody|someone)\ (?:had\ )?
              (?:said|told|claimed|announced|wrote|promised|remember(?:ed)?|heard|asked)\b
            | \bin\ (?:the|our|my)\ (?:\w+\ )?(?:meeting|talk|slides?|e-?mail|poster|draft)\b
            """,
            re.IGNORECASE | re.VERBOSE,
        ),
    ),
    (
        "the sentence speaks of another task",
        re.compile(
            r"""
              \b[Oo]n\ (?:the\ )?
              (?! GSM | GPU | CPU | TPU | HPC | DDP | NVIDIA | RTX | SLURM | [ABHLV]\d )
              [A-Z]{3,}[\w-]*
            | \b(?:SVAMP|ASDiv|AQuA|ANLI|DROP|WinoGrande|PIQA|OpenBookQA|TriviaQA|NaturalQuestions)\b
            """,
            re.VERBOSE,
        ),
    ),
    (
        "the sentence speaks of what should, would or might be",
        re.compile(
            r"""
              \b
              (?:
                    if | should | would | could | may | might
                  | expect(?:s|ed|ing|ation)?
                  | hop(?:e|es|ing) | goals? | aim(?:s|ing)? | plan(?:s|ned|ning)?
                  | want(?:s|ed)? | needs?\ to | we\ need | will | unless | hypothes\w*
                  | predict(?:s|ed|ion)? | projected | suppose | todo | ideally
                  | in\ theory | must | require[sd]? | to\ reach | success\ criteri\w+
                  | whenever | whether | next\ run | future\ runs? | threshold | trigger
                  | milestones? | deadlines? | acceptance | criteri(?:on|a) | desired
                  | intend(?:s|ed)? | envisag\w+ | ambition | counts?\ as
                  | extrapolat\w+ | suffic(?:es|ient) | break[- ]even | not\ run\ yet
                  | by\ (?:early|mid|late|(?:the\ )?end\ of)[- ]
                    (?:
                          January | February | March | April | May | June | July
                        | August | September | October | November | December | next
                        | this
                    )
              )
              \b | \?\s*$
            """,
            re.IGNORECASE | re.VERBOSE,
        ),
    ),
    (
        "the sentence cites a number from elsewhere",
        re.compile(
            r"""
              \b
              (?:
                    et\ al
                  | report(?:ed|s)\ (?:by|in)
                  | published | literature | prior\ work | leaderboard | model\ card
                  | previous(?:ly)? | earlier\ runs?
                  | old(?:er)?\ (?:runs?|data|splits?)
                  | historical(?:ly)?
                  | state[- ]of[- ]the[- ]art
                  | SOTA | related\ work | the\ authors
                  | (?:paper|results?|numbers?)\ (?:of|by)\ [A-Z]\w+
                  | slides | GPT-\d\w* | Claude | Gemini | DeepSeek
              )
              \b | \\cite | \[\d{1,3}\]
            """,
            re.IGNORECASE | re.VERBOSE,
        ),
    ),
    (
        "the number is a mean over several measurements",
        re.compile(
            r"""
            \b
            (?:
                  on\ average | averag(?:e|ed|es|ing)
                | mean\ (?:of|over|accuracy|bridged)
                | median | across\ (?:\w+\ )?seeds | over\ \w+\ seeds
            )
            \b
            """,
            re.IGNORECASE | re.VERBOSE,
        ),
    ),
    (
        "the sentence speaks of another task or a part of the items",
        re.compile(
            r"""
            \b
            (?:
                  squad | mmlu | hotpot\w* | ag[ _]news | arc(?:-[ce])? | boolq
                | hellaswag | truthfulqa | commonsenseqa | humaneval | mbpp | sst-?2
                | banking77 | trec | subset | first\ \d+
                | hard(?:est)?\ (?:items|questions)
                | counting\ only
                | if\ (?:one|we|you)\ (?:only\ )?counts?
                | excluding | restricted\ to | without\ the\ invalid
                | of\ the\ (?:parse?able|valid)
                | (?:first|second|last|other)\ (?:half|\d+)\ (?:items|questions|samples)
                | subset | dev\ split | majority\ vote | pass@\d+ | per[- ]rank | shard
            )
            \b
            """,
            re.IGNORECASE | re.VERBOSE,
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
    r"""
    \b
    (?:
          hypothes\w* | whether | needs?\ to | we\ need | require[sd]? | trigger
        | threshold | could | may | might | must | want(?:s|ed)?
    )
    \b
    """,
    re.IGNORECASE | re.VERBOSE,
)
_GOAL = re.compile(
    r"""
    ^\W*(?:\w+\W+){0,2}?
    (?:
          goals? | aim | plan(?:ned)? | next | todo | expect(?:ed|ation)? | hypothes\w+
        | success\ criteri\w+
    )
    \b
    """,
    re.IGNORECASE | re.VERBOSE,
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
