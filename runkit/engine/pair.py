"""A frozen language model from a local folder: hidden states, logits, greedy generation; never trained.

Legend: B examples, T sequence positions, N source tokens, E width of embeddings, S width of the
concatenated hidden states, A supervised positions, V vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache
from transformers.utils import logging as transformers_logging

from runkit.engine.prompts import SpecialTokens
from runkit.errors import TrainingStopped, UnknownName

EMBEDDED_PREFIX = "pocket/"
_EMBEDDED = ("pocket/source", "pocket/target")


class Generation(NamedTuple):
    """What one row was continued with."""

    token_ids: tuple[int, ...]
    """Without the end token."""
    finish: Literal["eos", "length"]


class States(NamedTuple):
    """Hidden states of several texts, padded on the right."""

    states_BNS: Tensor
    keep_BN: Tensor
    """True at real tokens."""


@dataclass(frozen=True)
class FrozenModel:
    """A causal language model in evaluation mode, without gradients for its weights, in fp32."""

    name: str
    sha256: str
    """Over the names and bytes of the folder's model and tokenizer files."""
    model: Any
    tokenizer: Any
    special: SpecialTokens

    @property
    def embedding_table(self) -> Tensor:
        """The table of input embeddings, shape ``[V, E]``."""
        table: Tensor = self.model.get_input_embeddings().weight
        return table

    def encode(self, text: str) -> tuple[int, ...]:
        """Return the token ids of *text* without special tokens."""
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of *token_ids*, spaces as they are."""
        text: str = self.tokenizer.decode(
            list(token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text

    def hidden_states(self, texts: Sequence[Sequence[int]], *, layers: Sequence[int]) -> States:
        """Return the hidden states of tokenised *texts* (BOS is put first) at *layers*, concatenated.

        Rows are padded on the right, where causal attention cannot see the padding.

        Raises:
            TrainingStopped: The model has no such layer.
        """
        rows = [[self.special.bos, *text] for text in texts]
        length = max(map(len, rows))
        ids_BN = torch.tensor([row + [self.special.pad] * (length - len(row)) for row in rows])
        with torch.no_grad():
            seen = self.model.base_model(input_ids=ids_BN, output_hidden_states=True, use_cache=False)
        if max(layers) >= len(seen.hidden_states):
            last = len(seen.hidden_states) - 1
            raise TrainingStopped(
                f"{self.name} has hidden states 0..{last}, pair.source_layers asks for {max(layers)}"
            )
        return States(
            states_BNS=torch.cat([seen.hidden_states[layer] for layer in layers], dim=-1),
            keep_BN=torch.tensor([[True] * len(row) + [False] * (length - len(row)) for row in rows]),
        )

    def logits(self, embedded_BTE: Tensor, position_ids_BT: Tensor, predicting_A: Tensor) -> Tensor:
        """Return logits ``[A, V]`` at the flat positions *predicting_A*; gradients reach the embeddings."""
        hidden_BTE = self.model.base_model(
            inputs_embeds=embedded_BTE, position_ids=position_ids_BT, use_cache=False
        ).last_hidden_state
        logits_AV: Tensor = self.model.get_output_embeddings()(hidden_BTE.flatten(0, 1)[predicting_A])
        return logits_AV

    def generate_greedy(self, embedded_BTE: Tensor, *, max_new_tokens: int) -> list[Generation]:
        """Return each row's greedy continuation; all rows have the same length and no padding.

        A row ends at the end token or after *max_new_tokens*; rows that ended leave the batch.
        """
        with torch.no_grad():
            return self._generate(embedded_BTE, max_new_tokens)

    def _generate(self, embedded_BTE: Tensor, max_new_tokens: int) -> list[Generation]:
        batch = embedded_BTE.shape[0]
        memory = DynamicCache(config=self.model.config)
        written: list[list[int]] = [[] for _ in range(batch)]
        ended = [False] * batch
        alive = list(range(batch))
        inputs_BTE, first = embedded_BTE, 0
        for _ in range(max_new_tokens):
            positions = torch.arange(first, first + inputs_BTE.shape[1]).expand(len(alive), -1)
            hidden_BTE = self.model.base_model(
                inputs_embeds=inputs_BTE, position_ids=positions, past_key_values=memory, use_cache=True
            ).last_hidden_state
            first = first + inputs_BTE.shape[1]
            token_B = self.model.get_output_embeddings()(hidden_BTE[:, -1]).argmax(dim=-1)
            going = token_B != self.special.eos
            for row, token, goes_on in zip(alive, token_B.tolist(), going.tolist(), strict=True):
                written[row] += [token] if goes_on else []
                ended[row] = not goes_on
            alive = [row for row in alive if not ended[row]]
            if not alive:
                break
            if len(alive) < len(token_B):
                memory.batch_select_indices(going.nonzero().squeeze(1))
            inputs_BTE = self.model.get_input_embeddings()(token_B[going])[:, None]
        return [
            Generation(tuple(tokens), "eos" if done else "length")
            for tokens, done in zip(written, ended, strict=True)
        ]


def load_frozen(name: str) -> FrozenModel:
    """Return the model in folder *name*, or one of the embedded pocket pair.

    Raises:
        UnknownName: No embedded model and no folder with a ``config.json`` has this name.
        TrainingStopped: The folder holds no causal language model with an end token.
    """
    folder = _folder(name)
    try:
        with _without_progress_bars():
            model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, attn_implementation="sdpa"
            )
            tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise TrainingStopped(
            f"{name} cannot be loaded as a causal language model: {_one_line(error)}"
        ) from error
    model.eval().requires_grad_(False)
    frozen = FrozenModel(
        name=name if name in _EMBEDDED else folder.name,
        sha256=folder_sha256(folder),
        model=model,
        tokenizer=tokenizer,
        special=_special(name, tokenizer),
    )
    assert_frozen(frozen)
    return frozen


def assert_frozen(frozen: FrozenModel) -> None:
    """Assert that the model is in evaluation mode and that none of its weights takes gradients."""
    assert not any(module.training for module in frozen.model.modules()), f"{frozen.name} is in training mode"
    assert not any(weight.requires_grad for weight in frozen.model.parameters()), (
        f"{frozen.name} is not frozen"
    )


def folder_sha256(folder: Path) -> str:
    """Return one digest over the names and bytes of the model and tokenizer files in *folder*."""
    whole = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in {".json", ".safetensors", ".model", ".txt"}:
            whole.update(f"{path.name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()


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


def _folder(name: str) -> Path:
    folder = Path(__file__).parent / name if name in _EMBEDDED else Path(name)
    if not (folder / "config.json").is_file():
        raise UnknownName.among("model", name, _EMBEDDED, way_out="or give a local folder with a config.json")
    return folder


def _special(name: str, tokenizer: Any) -> SpecialTokens:
    bos, eos, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    if bos is None or eos is None:
        raise TrainingStopped(f"{name} cannot be bridged: its tokenizer has no begin or no end token")
    return SpecialTokens(bos=bos, eos=eos, pad=eos if pad is None else pad)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
