"""The seeded script that built the pocket pair; run it to rebuild both models, bit for bit.

    python -m runkit.engine.pocket.build [--only source|target] [--steps N] [--out FOLDER]

Two things differ between processors: the kernels that a library picks, and the order of sums that comes with
them. So the script settles the portable arithmetic before torch is loaded (:mod:`runkit.engine.arithmetic`),
trains on one thread with deterministic algorithms, and keeps transcendental functions out of the schedule.
With the versions in ``HASHES.json`` a rerun writes the same bytes on every x86-64 processor with AVX2.
Another version of torch, another architecture or a GPU may write other bytes: then the hashes say so, and the
models would have to be judged by their accuracies anew.
"""

from __future__ import annotations

from runkit.engine import arithmetic

if __name__ == "__main__":  # read once, when torch is loaded, so this stands before its import
    arithmetic.settle("portable")

import argparse
import hashlib
import json
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
)

from runkit.engine.pocket.documents import Document, source_document, target_document

HERE = Path(__file__).parent
BEGINNING_STEPS = 20
"""After so many steps the weights are hashed, so that a quick test can verify the beginning of a build."""

_PAD, _BOS, _EOS, _UNKNOWN = "<pad>", "<s>", "</s>", "<unk>"
_PIECES = r" ?[0-9]| ?[A-Za-z]+|\n|[^A-Za-z0-9 \n]+| +"
"""Words, single digits, newlines and runs of signs, the first two with the space before them."""
_NOT_LEARNED = -100


@dataclass(frozen=True)
class Recipe:
    """All numbers of one model's build."""

    document: Callable[[random.Random], Document]
    vocabulary: int
    width: int
    layers: int
    key_value_heads: int
    rope_theta: float
    steps: int
    seed: int
    batch_size: int = 64
    learning_rate: float = 3e-3
    warmup_steps: int = 50


RECIPES = {
    "source": Recipe(source_document, 200, 64, 3, 2, 1e4, steps=400, seed=11),
    "target": Recipe(target_document, 224, 96, 3, 4, 5e2, steps=2200, seed=12),
}
"""The source is stopped early on purpose: it knows the list by heart and is a weak reckoner."""


def build(role: str, folder: Path, *, steps: int, tell: Callable[[str], object]) -> str:
    """Write model *role* to *folder* and return the SHA-256 of its weights after the first steps.

    Args:
        steps: How many of the recipe's steps to train; the schedule is the recipe's whatever the number.
        tell: Is given one line of progress now and then.
    """
    recipe = RECIPES[role]
    rng = random.Random(recipe.seed)
    tokenizer = _tokenizer(recipe, rng)
    torch.manual_seed(recipe.seed)
    model = _model(role, recipe)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    beginning = ""
    for step in range(1, steps + 1):
        optimizer.param_groups[0]["lr"] = recipe.learning_rate * _schedule(recipe, step)
        loss = _loss(model, tokenizer, [recipe.document(rng) for _ in range(recipe.batch_size)])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step == BEGINNING_STEPS:
            beginning = weights_sha256(model)
        if step % 100 == 0:
            tell(f"{role} step {step}/{steps} loss {loss.item():.4f} nats")
    _save(model, tokenizer, folder)
    return beginning


def weights_sha256(model: Any) -> str:
    """Return one digest over the names and fp32 bytes of all weights, in order of name."""
    whole = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        whole.update(name.encode() + weight.contiguous().numpy().tobytes())
    return whole.hexdigest()


def file_hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file in *folder*, by name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def _tokenizer(recipe: Recipe, rng: random.Random) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token=_UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocabulary,
        special_tokens=[_PAD, _BOS, _EOS, _UNKNOWN],
        initial_alphabet=_printable_ascii(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(("".join(recipe.document(rng)) for _ in range(4000)), trainer)
    return tokenizer


def _printable_ascii() -> list[str]:
    text = "".join(map(chr, range(32, 127))) + "\n"
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return sorted(set(level.pre_tokenize_str(text)[0][0]))


def _model(role: str, recipe: Recipe) -> Any:
    shape = {
        "vocab_size": recipe.vocabulary,
        "hidden_size": recipe.width,
        "intermediate_size": recipe.width * 8 // 3 // 16 * 16,
        "num_hidden_layers": recipe.layers,
        "num_attention_heads": 4,
        "num_key_value_heads": recipe.key_value_heads,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": recipe.rope_theta},
    }
    if role == "source":
        return MistralForCausalLM(MistralConfig(sliding_window=None, **shape))
    return LlamaForCausalLM(LlamaConfig(**shape))


def _schedule(recipe: Recipe, step: int) -> float:
    return min(1.0, step / recipe.warmup_steps) * max(
        0.02, min(1.0, (recipe.steps - step) / (0.6 * recipe.steps))
    )


def _loss(model: Any, tokenizer: Tokenizer, documents: list[Document]) -> Tensor:
    heads = [[1, *tokenizer.encode(document.prompt).ids] for document in documents]
    tails = [[*tokenizer.encode(document.completion).ids, 2] for document in documents]
    length = max(len(head) + len(tail) for head, tail in zip(heads, tails, strict=True))
    pads = [length - len(head) - len(tail) for head, tail in zip(heads, tails, strict=True)]
    ids = torch.tensor([h + t + [0] * p for h, t, p in zip(heads, tails, pads, strict=True)])
    labels = torch.tensor(
        [[_NOT_LEARNED] * len(h) + t + [_NOT_LEARNED] * p for h, t, p in zip(heads, tails, pads, strict=True)]
    )[:, 1:]
    learned = labels != _NOT_LEARNED
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    return functional.cross_entropy(model.get_output_embeddings()(hidden[learned]), labels[learned])


def _save(model: Any, tokenizer: Tokenizer, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.float16).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=_PAD, bos_token=_BOS, eos_token=_EOS, unk_token=_UNKNOWN
    ).save_pretrained(folder)


def main(arguments: list[str]) -> None:
    """Build the models that *arguments* ask for, and record their hashes beside them."""
    parser = argparse.ArgumentParser(description="Rebuild the pocket pair, bit for bit.")
    parser.add_argument("--only", choices=sorted(RECIPES), help="build one model; default: both")
    parser.add_argument("--steps", type=int, help="stop after so many steps; default: the whole recipe")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the models and HASHES.json")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    record = asked.out / "HASHES.json"
    hashes = json.loads(record.read_text()) if record.is_file() else {}
    for role in [asked.only] if asked.only else sorted(RECIPES):
        folder = asked.out / role
        beginning = build(role, folder, steps=asked.steps or RECIPES[role].steps, tell=print)
        hashes = json.loads(record.read_text()) if record.is_file() else {}
        hashes[role] = {f"weights_after_{BEGINNING_STEPS}_steps": beginning, "files": file_hashes(folder)}
    hashes["versions"] = {
        "python": ".".join(map(str, sys.version_info[:2])),
        "tokenizers": tokenizers.__version__,
        "torch": str(torch.__version__),
        "transformers": transformers.__version__,
    }
    record.write_text(json.dumps(hashes, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
