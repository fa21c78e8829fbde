"""Randomly initialised models of four families with tokenizers of their own, written as local folders."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

FAMILIES = {
    "llama": (LlamaForCausalLM, LlamaConfig, {"num_key_value_heads": 2}),
    "mistral": (MistralForCausalLM, MistralConfig, {"num_key_value_heads": 2, "sliding_window": 2048}),
    "gpt_neox": (GPTNeoXForCausalLM, GPTNeoXConfig, {}),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, {"num_key_value_heads": 2}),
}
TEXT = "How many apples does Tom have? Eva picks 12 pens more.\nQ: A: #### 34 boxes, miles and 567890 tables"


def write_model(folder, family, *, width=32, vocabulary=300, **special):
    """Write a 2-layer model of *family* to *folder*; *special* names the tokenizer's special tokens."""
    special = special or {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    build, configure, shape = FAMILIES[family]
    torch.manual_seed(len(family))
    config = configure(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=2048,
        initializer_range=0.3,  # large enough for different texts to be continued differently
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
        **shape,
    )
    build(config).save_pretrained(folder)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=sorted(set(special.values())),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    return folder
