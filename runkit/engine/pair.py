"""A frozen language model, embedded, from a folder or from the hub: hidden states, logits, greedy generation.

Legend: B examples, T sequence positions, P positions of a shared prefix, N source tokens, E width of
embeddings, S width of the concatenated hidden states, A supervised positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, DynamicCache
from transformers.utils import logging as transformers_logging

from runkit.engine.decoding import Decoding, allocate, decode
from runkit.engine.kernels import Kernels, can_compile, install, width_of_head
from runkit.engine.limits import ModelShape
from runkit.engine.origin import DEFAULT_REVISION, EMBEDDED, find
from runkit.engine.prompts import SpecialTokens, build_sequences
from runkit.engine.staging import sent
from runkit.errors import TrainingStopped, UsageError

Dtype = Literal["fp32", "bf16"]
Device = Literal["auto", "cpu", "cuda"]
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
Finish = Literal["eos", "stop", "length"]


class Generation(NamedTuple):
    """What one row was continued with."""

    token_ids: tuple[int, ...]
    """Without the end token."""
    finish: Finish


@dataclass(frozen=True)
class Prefix:
    """A text that many sequences begin with, read by a model once; its keys and values are shared."""

    token_ids: tuple[int, ...]
    """With BOS, where the model has one."""
    layers: tuple[tuple[Tensor, Tensor], ...]
    """Keys and values of each layer, shape ``[1, heads, P, width of a head]``."""

    def memory(self, batch: int) -> Any:
        """Return a fresh cache that holds the prefix for *batch* rows, and to which the rows can add."""
        return DynamicCache(
            [
                (keys.expand(batch, -1, -1, -1), values.expand(batch, -1, -1, -1))
                for keys, values in self.layers
            ]
        )


class States(NamedTuple):
    """Hidden states of several texts, padded on the right."""

    states_BNS: Tensor
    keep_BN: Tensor
    """True at real tokens."""


@dataclass(frozen=True)
class FrozenModel:
    """A causal language model in evaluation mode, without gradients for its weights."""

    name: str
    sha256: str | None
    """Over the names and bytes of the folder's model and tokenizer files; None for a model of the hub."""
    model: Any
    tokenizer: Any
    special: SpecialTokens
    more_ends: frozenset[int] = frozenset()
    """Further tokens that end a text, such as an end of turn."""
    revision: str | None = None
    """The commit of a model of the hub."""
    kernels: Kernels | None = None
    """How the model computes on a GPU; None for the plain way."""
    _encoded: dict[str, tuple[int, ...]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def embedding_table(self) -> Tensor:
        """The table of input embeddings, shape ``[V, E]``."""
        table: Tensor = self.model.get_input_embeddings().weight
        return table

    @property
    def context(self) -> int | None:
        """How many positions the model was made for, where its configuration says so."""
        positions: int | None = getattr(self.model.config, "max_position_embeddings", None)
        return positions

    def encode(self, text: str) -> tuple[int, ...]:
        """Return the token ids of *text* without special tokens; each text is tokenised once."""
        if text not in self._encoded:
            self._encoded[text] = tuple(self.tokenizer.encode(text, add_special_tokens=False))
        return self._encoded[text]

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of *token_ids*, spaces as they are."""
        text: str = self.tokenizer.decode(
            list(token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embedding_table.device

    def read_prefix(self, text: str) -> Prefix | None:
        """Return *text*, with BOS before it, as read once for all sequences; None when there is no text."""
        if not text:
            return None
        begin = () if self.special.bos is None else (self.special.bos,)
        token_ids = (*begin, *self.encode(text))
        if self.kernels is not None:
            return Prefix(token_ids, self._kept_while_reading(self.kernels, token_ids))
        memory = DynamicCache()
        with torch.no_grad():
            self.model.base_model(
                input_ids=torch.tensor([token_ids], device=self.device),
                past_key_values=memory,
                use_cache=True,
            )
        return Prefix(token_ids, tuple((keys, values) for keys, values, _ in memory))

    def _kept_while_reading(
        self, kernels: Kernels, token_ids: Sequence[int]
    ) -> tuple[tuple[Tensor, Tensor], ...]:
        kept = allocate(self.model.config, 1, len(token_ids), self.embedding_table)
        with torch.no_grad(), kernels.reading(kept=kept, rows=slice(0, 1), once=True):
            self.model.base_model(input_ids=torch.tensor([token_ids], device=self.device), use_cache=False)
        return tuple(kept)

    @contextmanager
    def _standing_after(
        self, prefix: Prefix | None, batch: int, *, asked_from: int = 0, once: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Give what a forward pass of *batch* rows needs to stand after *prefix*."""
        if self.kernels is None:
            yield _remembered(prefix, batch)
            return
        layers = None if prefix is None else prefix.layers
        with self.kernels.reading(layers, asked_from=asked_from, once=once):
            yield {"use_cache": False}

    def hidden_states(
        self, texts: Sequence[Sequence[int]], *, layers: Sequence[int], prefix: Prefix | None = None
    ) -> States:
        """Return the hidden states of tokenised *texts* at *layers*, concatenated.

        Without a prefix BOS is put first; with one the states are those of the texts only, read after it.
        Rows are padded on the right, where causal attention cannot see the padding.

        Raises:
            TrainingStopped: The model has no such layer.
        """
        built = build_sequences(texts, num_slots=0, special=self.special, start=length_of(prefix))
        at = {} if prefix is None else {"position_ids": sent(built.position_ids_BT, self.device)}
        with torch.no_grad(), self._standing_after(prefix, len(texts), once=True) as remembered:
            seen = self.model.base_model(
                input_ids=sent(built.token_ids_BT, self.device), output_hidden_states=True, **at, **remembered
            )
        if max(layers) >= len(seen.hidden_states):
            last = len(seen.hidden_states) - 1
            raise TrainingStopped(
                f"{self.name} has hidden states 0..{last}, pair.source_layers asks for {max(layers)}"
            )
        return States(
            states_BNS=torch.cat([seen.hidden_states[layer] for layer in layers], dim=-1),
            keep_BN=built.real_BT,
        )

    def logits(
        self,
        embedded_BTE: Tensor,
        position_ids_BT: Tensor,
        predicting_A: Tensor,
        *,
        prefix: Prefix | None = None,
    ) -> Tensor:
        """Return logits ``[A, V]`` at the flat positions *predicting_A*; gradients reach the embeddings.

        Args:
            position_ids_BT: Start after *prefix*, if there is one.
        """
        batch, length, _ = embedded_BTE.shape
        first = int((predicting_A % length).min())
        with self._standing_after(prefix, batch, asked_from=first) as remembered:
            hidden_BTE = self.model.base_model(
                inputs_embeds=embedded_BTE, position_ids=sent(position_ids_BT, self.device), **remembered
            ).last_hidden_state
        hidden_AE = hidden_BTE.flatten(0, 1)[sent(predicting_A, self.device)]
        logits_AV: Tensor = self.model.get_output_embeddings()(hidden_AE)
        return logits_AV

    def generate_greedy(
        self,
        embedded_BTE: Tensor,
        *,
        max_new_tokens: int,
        lengths: Sequence[int] | None = None,
        prefix: Prefix | None = None,
        stops: Sequence[str] = (),
    ) -> list[Generation]:
        """Return each row's greedy continuation.

        A row ends at an end token, when one of *stops* stands in its text, or after *max_new_tokens*; rows
        that ended leave the batch.

        Args:
            lengths: Of each row; what stands after it is padding, is masked and takes no position. None:
                all rows are whole.
            prefix: What all rows begin with.
        """
        if self.kernels is not None:
            widths = [embedded_BTE.shape[1]] * len(embedded_BTE) if lengths is None else list(lengths)
            return self._generate_in_place(self.kernels, embedded_BTE, widths, max_new_tokens, prefix, stops)
        with torch.no_grad():
            rows = _Rows.begin(embedded_BTE, lengths, length_of(prefix))
            return self._generate(rows, max_new_tokens, prefix, stops)

    def _generate_in_place(
        self,
        kernels: Kernels,
        embedded_BTE: Tensor,
        lengths: Sequence[int],
        max_new_tokens: int,
        prefix: Prefix | None,
        stops: Sequence[str],
    ) -> list[Generation]:
        """Return what :meth:`_generate` does, from memory that is allocated once."""
        written: list[list[int]] = [[] for _ in lengths]
        finish: list[Finish] = ["length"] * len(lengths)

        def ends(row: int, token: int) -> bool:
            finish[row] = self._take(token, written[row], stops)
            return finish[row] != "length"

        decoding = Decoding(
            self.model,
            kernels,
            lengths=lengths,
            max_new_tokens=max_new_tokens,
            prefix=None if prefix is None else prefix.layers,
            start=length_of(prefix),
        )
        decode(decoding, embedded_BTE, max_new_tokens=max_new_tokens, ends=ends)
        return [Generation(tuple(tokens), why) for tokens, why in zip(written, finish, strict=True)]

    def _generate(
        self, rows: _Rows, max_new_tokens: int, prefix: Prefix | None, stops: Sequence[str]
    ) -> list[Generation]:
        batch = rows.inputs_BTE.shape[0]
        memory = DynamicCache(config=self.model.config) if prefix is None else prefix.memory(batch)
        written: list[list[int]] = [[] for _ in range(batch)]
        finish: list[Finish] = ["length"] * batch
        alive = list(range(batch))
        for _ in range(max_new_tokens):
            hidden_BTE = self.model.base_model(
                inputs_embeds=rows.inputs_BTE,
                attention_mask=rows.mask_BT,
                position_ids=rows.positions_BT,
                past_key_values=memory,
                use_cache=True,
            ).last_hidden_state
            token_B = self.model.get_output_embeddings()(rows.last(hidden_BTE)).argmax(dim=-1)
            for row, token in zip(alive, token_B.tolist(), strict=True):
                finish[row] = self._take(token, written[row], stops)
            going_B = torch.tensor([finish[row] == "length" for row in alive], device=self.device)
            alive = [row for row in alive if finish[row] == "length"]
            if not alive:
                break
            if len(alive) < len(token_B):
                memory.batch_select_indices(going_B.nonzero().squeeze(1))
            rows = rows.continued(self.model.get_input_embeddings()(token_B[going_B])[:, None], going_B)
        return [Generation(tuple(tokens), why) for tokens, why in zip(written, finish, strict=True)]

    def _take(self, token: int, written: list[int], stops: Sequence[str]) -> Finish:
        """Append *token* to *written* unless it ends the row; return why it ended, ``length`` while not."""
        if token == self.special.eos or token in self.more_ends:
            return "eos"
        written.append(token)
        if not stops:
            return "length"
        # every token of a stop string writes at least one of its bytes, one more may begin before it
        tail = self.decode(written[-max(len(stop.encode()) for stop in stops) - 2 :])
        return "stop" if any(stop in tail for stop in stops) else "length"


class _Rows(NamedTuple):
    """What the next forward pass of a generation reads, for the rows that are still going."""

    inputs_BTE: Tensor
    positions_BT: Tensor
    mask_BT: Tensor | None
    """True at everything real so far, the prefix included; None when there is no padding."""
    ends_B: Tensor
    """Number of real columns of each row's *inputs_BTE*."""
    next_B: Tensor
    """Position of each row's next token."""

    @classmethod
    def begin(cls, embedded_BTE: Tensor, lengths: Sequence[int] | None, start: int) -> _Rows:
        batch, length, _ = embedded_BTE.shape
        whole = lengths is None or all(one == length for one in lengths)
        ends_B = torch.tensor([length] * batch if lengths is None else lengths, device=embedded_BTE.device)
        columns_T = torch.arange(length, device=embedded_BTE.device)
        real_BT = columns_T < ends_B[:, None]
        seen_BT = torch.cat([real_BT.new_ones(batch, start), real_BT], dim=1)
        positions_BT = (start + columns_T).expand(batch, -1)
        return cls(embedded_BTE, positions_BT, None if whole else seen_BT, ends_B, start + ends_B)

    def last(self, hidden_BTE: Tensor) -> Tensor:
        """Return the hidden state at each row's last real column, shape ``[B, E]``."""
        if self.mask_BT is None:
            return hidden_BTE[:, -1]
        rows_B = torch.arange(len(hidden_BTE), device=hidden_BTE.device)
        return hidden_BTE[rows_B, self.ends_B - 1]

    def continued(self, inputs_B1E: Tensor, going_B: Tensor) -> _Rows:
        """Return the rows that go on, with one more token each."""
        next_B = self.next_B[going_B]
        mask_BT = None
        if self.mask_BT is not None:
            seen_BT = self.mask_BT[going_B]
            mask_BT = torch.cat([seen_BT, seen_BT.new_ones(len(seen_BT), 1)], dim=1)
        return _Rows(inputs_B1E, next_B[:, None], mask_BT, torch.ones_like(next_B), next_B + 1)


def length_of(prefix: Prefix | None) -> int:
    """Return the number of tokens in *prefix*, 0 for None."""
    return 0 if prefix is None else len(prefix.token_ids)


def _remembered(prefix: Prefix | None, batch: int) -> dict[str, Any]:
    if prefix is None:
        return {"use_cache": False}
    return {"past_key_values": prefix.memory(batch), "use_cache": True}


def load_frozen(
    name: str,
    *,
    revision: str = DEFAULT_REVISION,
    dtype: Dtype = "fp32",
    device: Device = "auto",
    plain: bool = False,
) -> FrozenModel:
    """Return one of the embedded pocket pair, the model in folder *name*, or model *name* of the hub.

    Args:
        device: ``auto`` is CUDA where there is one, but the CPU for the embedded pair, whose runs repeat.
        plain: Compute as transformers does, also where a GPU could do it faster.
    Raises:
        UnknownName: *name* is nothing of the three.
        UsageError: A revision is asked of a folder, or there is no CUDA device.
        TrainingStopped: It is no causal language model with an end token, or the hub does not give it.
    """
    origin = find(name, revision=revision)
    place = placed(device, embedded=name in EMBEDDED)
    try:
        with _without_progress_bars():
            model = AutoModelForCausalLM.from_pretrained(
                origin.location, revision=origin.revision, dtype=_DTYPES[dtype], attn_implementation="sdpa"
            )
            tokenizer = AutoTokenizer.from_pretrained(origin.location, revision=origin.revision)
    except (OSError, ValueError) as error:
        raise TrainingStopped(
            f"{name} cannot be loaded as a causal language model: {_one_line(error)}"
        ) from error
    model.eval().requires_grad_(False).to(place)
    fast = place.type == "cuda" and not plain and can_compile()
    frozen = FrozenModel(
        name=origin.name,
        sha256=origin.sha256,
        model=model,
        tokenizer=tokenizer,
        special=_special(name, tokenizer, model.get_input_embeddings().num_embeddings),
        more_ends=_ends(model) - {tokenizer.eos_token_id},
        revision=origin.revision,
        kernels=install(model, compiled=True) if fast else None,
    )
    assert_frozen(frozen)
    return frozen


def shape_before_loading(name: str, *, revision: str, dtype: Dtype) -> ModelShape:
    """Return the shape of a model from its configuration alone; errors as in :func:`load_frozen`."""
    origin = find(name, revision=revision)
    try:
        known = AutoConfig.from_pretrained(origin.location, revision=origin.revision)
        with torch.device("meta"):
            empty = AutoModelForCausalLM.from_config(known, dtype=_DTYPES[dtype])
    except (OSError, ValueError) as error:
        raise TrainingStopped(
            f"{name} cannot be loaded as a causal language model: {_one_line(error)}"
        ) from error
    return shape_of(empty)


def shape_of(model: Any) -> ModelShape:
    """Return the numbers of *model* that memory depends on."""
    known, table = model.config, model.get_input_embeddings().weight
    heads = known.num_attention_heads
    return ModelShape(
        parameters=sum(weight.numel() for weight in model.parameters()),
        layers=known.num_hidden_layers,
        width=known.hidden_size,
        key_value_width=(getattr(known, "num_key_value_heads", None) or heads) * width_of_head(known),
        vocabulary=len(table),
        value_bytes=table.element_size(),
    )


def available_bytes(device: torch.device) -> int | None:
    """Return the free memory of *device*; None where the system does not tell."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    kibibytes = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return 1024 * int(kibibytes[0]) if kibibytes else None


def placed(device: Device, *, embedded: bool) -> torch.device:
    """Return where a model goes: this process's CUDA device, or the CPU.

    Raises:
        UsageError: CUDA is asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("compute.device is cuda and this machine has no CUDA device; use auto or cpu")
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() and not embedded else "cpu")
    return torch.device(device)


def assert_frozen(frozen: FrozenModel) -> None:
    """Assert that the model is in evaluation mode and that none of its weights takes gradients."""
    assert not any(module.training for module in frozen.model.modules()), f"{frozen.name} is in training mode"
    assert not any(weight.requires_grad for weight in frozen.model.parameters()), (
        f"{frozen.name} is not frozen"
    )


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing on the caller's terminal while it loads."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def _special(name: str, tokenizer: Any, rows: int) -> SpecialTokens:
    """Return the frame of a sequence; BOS may be missing, EOS may not, and both must be embedded.

    A pad is never seen, so any token can be one.
    """
    bos, eos, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    if eos is None:
        raise TrainingStopped(
            f"{name} cannot be bridged: its tokenizer has no end token, so nothing would end an answer; "
            "set eos_token in its tokenizer_config.json"
        )
    special = SpecialTokens(bos=bos, eos=eos, pad=eos if pad is None or pad >= rows else pad)
    for token, number in (("begin", bos), ("end", eos)):
        if number is None or number < rows:
            continue
        raise TrainingStopped(
            f"{name} cannot be bridged: its {token} token is number {number} of {rows} embeddings"
        )
    return special


def _ends(model: Any) -> frozenset[int]:
    """Return the end tokens that the model's generation configuration names."""
    ends = getattr(model.generation_config, "eos_token_id", None)
    if ends is None:
        return frozenset()
    return frozenset([ends] if isinstance(ends, int) else ends)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
