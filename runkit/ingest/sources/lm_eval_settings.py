"""The effective configuration of calls of lm-evaluation-harness: one setting, one key.

The harness copies settings of the call into every task (``metadata.pretrained`` of ``model_args``,
``generation_kwargs`` of ``gen_kwargs``, ``num_fewshot``, one seed into four) and facts of the model into the
configuration. What is a copy follows its source, an address in memory is no setting, and a key with the
default that it had before it existed is none either. No file in sight.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from runkit.ingest.dumps import storable
from runkit.ingest.redaction import clean_setting
from runkit.ingest.sources.lm_eval_files import Call, mapping
from runkit.records.record import Scalar, canonical_json

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_FUNCTION = re.compile(r"<(?:function|bound method|built-in function) [^>]*>")
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")

_NO_EFFECT = {
    "bootstrap_iters": "only the standard error",
    "batch_sizes": "what the automatic batch size came to",
    "use_cache": "where responses are cached",
    "no_cache": "where responses are cached",
}
_FOLLOWS_THE_MODEL = {
    "model_num_parameters": "follows model_args",
    "model_dtype": "follows model_args",
    "model_revision": "follows model_args",
}
_SEEDS = ("random_seed", "numpy_seed", "torch_seed", "fewshot_seed")
_FEWSHOT_SEED = 1234
"""What the few-shot seed was before it could be set."""
_TASK_DEFAULTS: Mapping[str, object] = {
    "unsafe_code": False,
    "repeats": 1,
    "should_decontaminate": False,
    "description": "",
    "target_delimiter": " ",
    "fewshot_delimiter": "\n\n",
}
"""Keys of a task that newer versions write, with the value that leaves everything as it was."""
_FEWSHOT_DEFAULTS: Mapping[str, object] = {"sampler": "default"}
_OF_THE_TASK = frozenset({"until"})
_SAMPLING = frozenset({"do_sample", "temperature"})
_OF_THE_WHOLE = ("chat_template_sha", "system_instruction_sha", "fewshot_as_multiturn")
_ONCE = frozenset({"task", "metadata", "generation_kwargs", "num_fewshot", "fewshot_config"})
"""Keys of a task that get their own treatment, or are its name."""


class Settings(NamedTuple):
    """What counts, and what does not with the reason."""

    effective: dict[str, Scalar]
    inert: dict[str, str]


def settings_of(calls: Sequence[Call]) -> Settings:
    """Return the settings of *calls*, one key for each thing that somebody sets; secrets are left out.

    The calls are parts of one run: other tasks, and the same :func:`settings_of_the_call`.
    """
    tasks = {task: call.section("configs", task) for call in calls for task in call.tasks}
    asked = arguments(mapping(calls[0].document.get("config")).get("gen_kwargs")) if calls else {}
    generation = common_generation(tasks.values(), asked=mapping(asked))
    found: dict[str, object] = {}
    inert: dict[str, str] = {}
    shots: dict[str, int | None] = {}
    for call in calls:
        config = mapping(call.document.get("config"))
        found |= _of_the_call(call)
        inert |= {key: why for key, why in (_NO_EFFECT | _FOLLOWS_THE_MODEL).items() if key in config}
        inert |= {"max_length": "follows the model"} if "max_length" in call.document else {}
        shots |= {task: shots_of(call, task) for task in call.tasks}
        model_arguments = mapping(arguments(config.get("model_args")))
        for task in call.tasks:
            found |= _task_settings(task, tasks[task], model_arguments, generation)
            found[f"{task}.version"] = mapping(call.document.get("versions")).get(task)
    found["gen_kwargs"] = {**asked, **generation} if isinstance(asked, Mapping) else asked
    found |= _fewshot_counts(shots)
    return Settings(_settled(found), inert)


def settings_of_the_call(call: Call) -> dict[str, Scalar]:
    """Return what was set for *call* as a whole, whatever its tasks."""
    return _settled(_of_the_call(call))


def _of_the_call(call: Call) -> dict[str, object]:
    config = mapping(call.document.get("config"))
    elsewhere = {"model_args", "gen_kwargs", "num_fewshot", *_SEEDS, *_NO_EFFECT, *_FOLLOWS_THE_MODEL}
    found: dict[str, object] = {
        key: value
        for key, value in config.items()
        if key not in elsewhere and not (key.endswith("_sha") and value)
    }
    found |= {key: call.document[key] for key in _OF_THE_WHOLE if call.document.get(key)}
    found["model_args"] = _with_digests(arguments(config.get("model_args")), config)
    found["seed"] = seed_of(config)
    found["gen_kwargs"] = arguments(config.get("gen_kwargs"))
    return found


def _settled(found: Mapping[str, object]) -> dict[str, Scalar]:
    settled = {storable(key): _scalar(key, value) for key, value in found.items() if not _is_unset(value)}
    return dict(sorted(settled.items()))


def arguments(found: object) -> object:
    """Return ``a=1,b=x`` as the mapping that newer versions write; what is neither stays as it is."""
    if found is None or found == "":
        return {}
    if not isinstance(found, str):
        return found
    pairs = [piece.split("=", 1) for piece in found.split(",") if piece]
    if any(len(pair) != 2 for pair in pairs):
        return found
    return {name.strip(): _argument(value) for name, value in pairs}


def _argument(text: str) -> object:
    """Return the value that the harness reads from *text*."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text == "None":
        return None
    if _WHOLE.fullmatch(text):
        return int(text)
    try:
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else text


def seed_of(config: Mapping[str, Any]) -> Scalar:
    """Return the seeds as ``--seed`` takes them: one for all, or those of Python, NumPy, PyTorch, shots."""
    found = [config[name] for name in _SEEDS if name in config]
    if not found:
        return None
    if "fewshot_seed" not in config:
        found.append(_FEWSHOT_SEED)
    if type(found[0]) is int and all(type(seed) is int and seed == found[0] for seed in found):
        return found[0]
    return ",".join(storable(seed) for seed in found)


def common_generation(tasks: Iterable[Mapping[str, Any]], *, asked: Mapping[str, Any]) -> dict[str, object]:
    """Return what all tasks that generate have in common: there *asked*, ``gen_kwargs`` of the call, arrives.

    Where a task stops is its own unless the call asked for it: people change it in one task.
    """
    found = [generation_of(of_task) for of_task in tasks]
    generating = [one for one in found if one]
    first = generating[0] if generating else {}
    return {
        key: value
        for key, value in first.items()
        if (key in asked or key not in _OF_THE_TASK)
        and all(key in one and one[key] == value for one in generating)
    }


def generation_of(of_task: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return how a task generates; that it does not sample may be said, and is the harness's way unsaid."""
    found = mapping(of_task.get("generation_kwargs"))
    is_greedy = found.get("temperature") in (None, 0) and found.get("do_sample") in (None, False)
    return {key: value for key, value in found.items() if not (is_greedy and key in _SAMPLING)}


def _fewshot_counts(shots: Mapping[str, int | None]) -> dict[str, object]:
    """Return the number of shots, once where all tasks have the same."""
    known = set(shots.values())
    if len(known) == 1:
        return {"num_fewshot": known.pop()}
    return {f"{task}.num_fewshot": count for task, count in shots.items()}


def shots_of(call: Call, task: str) -> int | None:
    """Return how many examples stood before each question of *task*, None where no file says so."""
    found = (
        mapping(call.document.get("n-shot")).get(task),
        call.section("configs", task).get("num_fewshot"),
        mapping(call.document.get("config")).get("num_fewshot"),
    )
    return next((one for one in found if type(one) is int and one >= 0), None)


def _with_digests(model_arguments: object, config: Mapping[str, Any]) -> object:
    """Return the model with the commits of its weights, which differ whenever another model is asked for."""
    digests = {key: value for key, value in config.items() if key.endswith("_sha") and value}
    return {**model_arguments, **digests} if isinstance(model_arguments, Mapping) else model_arguments


def _task_settings(
    task: str,
    of_task: Mapping[str, Any],
    model_arguments: Mapping[str, Any],
    generation: Mapping[str, object],
) -> dict[str, object]:
    found = {
        key: value
        for key, value in of_task.items()
        if key not in _ONCE and not (key in _TASK_DEFAULTS and value == _TASK_DEFAULTS[key])
    }
    found["metadata"] = {
        key: value
        for key, value in mapping(of_task.get("metadata")).items()
        if key != "version" and key not in model_arguments
    }
    found["generation_kwargs"] = {
        key: value for key, value in generation_of(of_task).items() if key not in generation
    }
    found["fewshot_config"] = _fewshot_settings(of_task)
    return {f"{task}.{key}": value for key, value in found.items()}


def _fewshot_settings(of_task: Mapping[str, Any]) -> object:
    """Return what of ``fewshot_config`` is no copy of the task's own keys, which newer versions put there."""
    found = of_task.get("fewshot_config")
    if not isinstance(found, Mapping):
        return found
    own = {**_TASK_DEFAULTS, **of_task, "split": of_task.get("fewshot_split")}
    return {
        key: value
        for key, value in found.items()
        if not _is_unset(value)
        and value != own.get(key)
        and value != _FEWSHOT_DEFAULTS.get(key)
        and not (isinstance(value, str) and _FUNCTION.fullmatch(value) and key in of_task)
    }


def _is_unset(value: object) -> bool:
    return value is None or (isinstance(value, dict | list) and not value)


def _scalar(name: str, value: object) -> Scalar:
    """Return *value* as one scalar without addresses in memory and without secrets."""
    plain: Any = _plain(name.rpartition(".")[2], value)
    if isinstance(plain, dict | list):
        return clean_setting("", canonical_json(plain))
    scalar: Scalar = plain
    return scalar


def _plain(name: str, value: object) -> Any:
    if isinstance(value, Mapping):
        return {_text(str(key)): _plain(str(key), one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(name, one) for one in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and abs(value) >= 2**63:
        return str(value)
    if isinstance(value, int | float):
        return clean_setting(name, value)
    return clean_setting(name, _text(str(value)))


def _text(text: str) -> str:
    return storable(_ADDRESS.sub("", text))
