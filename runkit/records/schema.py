"""What it means that a setting is absent from an effective configuration, for each format of configurations.

A format grows: keys come that older runs do not have. Here stands what those runs did, so that a comparison
fills the key in on both sides and says *dit -> linear* where it would otherwise say *(not set) -> linear*.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from runkit.records.manifest import RunFacts
from runkit.records.record import Scalar

Setting = bool | int | float | str

IMPLIED: Mapping[str, Setting] = MappingProxyType(
    {
        "prompt.injection": "prepend",
        "source_align.kind": "none",
        "source_align.trainable": True,
        "bridge.kind": "dit",
        "sampler.method": "euler",
        "sampler.guidance": 1.0,
        "sampler.condition_drop": 0.1,
        "loss.prompt_alignment_mode": "mse",
        "loss.kl_weight": 0.0,
        "loss.info_nce_weight": 0.0,
        "loss.format_weight": 0.0,
        "loss.decode_weight": 0.0,
        "loss.decode_every_steps": 10,
        "loss.teacher": "question",
        "compute.gradient_accumulation_steps": 1,
        "compute.kernels": "auto",
        "compute.arithmetic": "fast",
    }
)
"""Of the engine's own configurations.

These keys are younger than runs in archives. At the value here they say what those runs did, so the engine
leaves them out: a configuration has the same digest before and after the key came. They are not inert then
(the bridge *is* a DiT), and a comparison reports them as changed, not as a consequence, when they differ. A
value in this table can therefore never change, and a new key comes into it with the value that says what runs
did before.
"""

IMPLIED_BY_READER: Mapping[str, Mapping[str, Setting]] = MappingProxyType({"runkit": IMPLIED})
"""Reader of the run directory to what it means that a key is absent. The cluster's logs print every key that
their program knew, and nobody recorded what a key meant before it existed, so nothing is filled in there."""


def settings_in_effect(facts: RunFacts) -> Mapping[str, Scalar]:
    """Return the effective configuration, with keys that are younger than the run at what they mean.

    Empty when the run recorded no configuration.
    """
    configuration = facts.configuration
    implied = IMPLIED_BY_READER.get(facts.provenance.reader)
    if implied is None or not configuration.effective:
        return configuration.effective
    known = {key: value for key, value in implied.items() if key not in configuration.inert}
    return known | dict(configuration.effective)
