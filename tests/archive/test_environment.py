"""What is written down of a command and its environment never holds a secret, and says what it left out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runkit.archive.environment import DROPPED, captured_arguments, captured_environment


def test_variables_of_launchers_devices_and_libraries_are_kept_and_others_are_not() -> None:
    captured = captured_environment(
        {
            "SLURM_JOB_ID": "77",
            "RANK": "0",
            "TORCHELASTIC_RUN_ID": "x",
            "CUDA_VISIBLE_DEVICES": "0,1",
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONHASHSEED": "0",
            "HOME": "/root-of-me",
            "EDITOR": "vi",
        }
    )
    assert captured.kept == {
        "CUDA_VISIBLE_DEVICES": "0,1",
        "PYTHONHASHSEED": "0",
        "RANK": "0",
        "SLURM_JOB_ID": "77",
        "TOKENIZERS_PARALLELISM": "false",
        "TORCHELASTIC_RUN_ID": "x",
    }
    assert captured.dropped == ()


def test_secrets_are_dropped_by_name_or_value_and_named_also_when_somebody_asks_for_them() -> None:
    captured = captured_environment(
        {
            "HF_TOKEN": "t",
            "SLURM_JWT": "t",
            "RUNKIT_API_KEY": "t",
            "HF_ENDPOINT": "https://me:pass@hub.example",
            "TORCH_HOME": "hf_abcdefghijklmnopqrst",
            "WANDB_API_KEY": "t",
            "PROJECT": "bridge",
        },
        also=("WANDB_API_KEY", "PROJECT"),
    )
    assert captured.kept == {"PROJECT": "bridge"}
    assert captured.dropped == (
        "HF_ENDPOINT",
        "HF_TOKEN",
        "RUNKIT_API_KEY",
        "SLURM_JWT",
        "TORCH_HOME",
        "WANDB_API_KEY",
    )


@pytest.mark.parametrize(
    ("argv", "kept", "dropped"),
    [
        (["train", "--lr", "0.1"], ("train", "--lr", "0.1"), ()),
        (["x", "--hf-token", "abc", "--lr", "1"], ("x", "--hf-token", DROPPED, "--lr", "1"), ("hf-token",)),
        (["x", "--api_key=abc"], ("x", f"--api_key={DROPPED}"), ("api_key",)),
        (["env", "WANDB_API_KEY=abc", "x"], ("env", f"WANDB_API_KEY={DROPPED}", "x"), ("WANDB_API_KEY",)),
        (["x", "s3://me:secret@host/b"], ("x", f"s3://me:{DROPPED}@host/b"), ("argument 1",)),
        (["x", "--use-token", "--lr", "1"], ("x", "--use-token", "--lr", "1"), ()),
        (["x", "--kl_tokens", "20"], ("x", "--kl_tokens", "20"), ()),
    ],
)
def test_arguments_lose_the_values_of_secret_options(
    argv: list[str], kept: tuple[str, ...], dropped: tuple[str, ...]
) -> None:
    assert captured_arguments(argv) == (kept, dropped)


@given(st.lists(st.text(), max_size=6), st.sampled_from(["--token", "--password", "-api-key", "--db_passwd"]))
def test_a_secret_behind_its_option_never_survives(words: list[str], option: str) -> None:
    secret = "S3CR3T-value"
    for written in ([option, secret], [f"{option}={secret}"]):
        captured = captured_arguments([*words, "end", *written])
        assert secret not in " ".join(captured.argv)
        assert captured.dropped


def test_bytes_that_are_no_text_can_be_written_down() -> None:
    assert captured_arguments(["x\udcff"]).argv == ("x\\udcff",)
