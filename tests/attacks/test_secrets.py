"""Nothing that lets its reader in anywhere is written down, and what only looks like it is kept.

The secrets are put together when the tests run, so that no scanner of a code host takes them for real ones.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from runkit.archive.environment import DROPPED, captured_arguments
from runkit.archive.scanning import secrets_in_bytes, secrets_in_file
from runkit.archive.workspace import Workspace
from runkit.cli.app import app
from runkit.errors import UsageError
from runkit.records.record import canonical_digest
from runkit.secrets.paths import says_secret
from runkit.secrets.text import is_secret_value, secrets_in, without_secrets
from runkit.workflows.preserve import PreserveRequest, note, preserve
from runkit.workflows.validate import validate

ROOT = Path(__file__).resolve().parents[2]

MIXED = "a1B2c3D4" * 16
"""Letters and digits as a generator draws them."""


def key(prefix: str, length: int, *, of: str = MIXED) -> str:
    return prefix + of[:length]


PEM = "\n".join(["-----BEGIN RSA " + "PRIVATE KEY-----", MIXED[:64], "-----END RSA " + "PRIVATE KEY-----"])
JWT = ".".join([key("ey" + "J", 20), key("ey" + "J", 30), MIXED[:24]])

FORMS = (
    key("hf_", 34, of="a" * 40),
    key("gh" + "p_", 36),
    key("github_" + "pat_", 59),
    key("glp" + "at-", 20),
    key("sk-", 40, of="b" * 40),
    key("sk-" + "proj-", 60),
    key("sk-" + "ant-api03-", 80),
    key("AK" + "IA", 16, of="ABCDEFGH23456789"),
    key("AI" + "za", 35),
    key("ya29" + ".", 40),
    key("xox" + "b-", 30, of="1234567890-ABCDEFGHIJKLMNOPQRST"),
    key("np" + "m_", 36),
    key("py" + "pi-AgEI", 60),
    key("sk_" + "live_", 24),
    "SG" + "." + MIXED[:22] + "." + MIXED[:43],
    "123456789" + ":AA" + MIXED[:33],
    JWT,
    key("dap" + "i", 32, of="0123456789abcdef" * 2),
    key("nv" + "api-", 64),
    key("gs" + "k_", 52),
    key("AGE-SECRET-" + "KEY-1", 58, of=MIXED.upper()),
    "hooks.slack" + ".com/services/T0000/B0000/" + MIXED[:24],
)


@pytest.mark.parametrize("form", FORMS)
def test_a_token_is_told_by_its_form_wherever_it_stands(form: str) -> None:
    for around in ("{}", "x = '{}'", "see {} there", '{{"a": "{}"}}', '"line\\n{}\\n"', "a={},b=2", "({})"):
        text = around.format(form)
        for is_code in (False, True):
            found = secrets_in(text, is_code=is_code)
            assert len(found) == 1, (text, found)
            assert form in text[found[0].start : found[0].end]
            assert form not in found[0].kind
        assert secrets_in_bytes(text.encode())


ARGUMENTS = (
    (["-H", "Authorization: Bearer x"], ["-H", f"Authorization: Bearer {DROPPED}"]),
    (["--header=authorization: Basic eDp5"], [f"--header=authorization: Basic {DROPPED}"]),
    (["-H", "X-Api-Key: word"], ["-H", f"X-Api-Key: {DROPPED}"]),
    (["-H", "Cookie: sid=1; other=2"], ["-H", f"Cookie: {DROPPED}"]),
    (["https://h/x?token=abc&b=1"], [f"https://h/x?token={DROPPED}&b=1"]),
    (["https://a.blob.example/c?sv=2024&sig=ab%2Bc%3D"], [f"https://a.blob.example/c?sv=2024&sig={DROPPED}"]),
    (
        ["https://s3/x?X-Amz-Credential=u&X-Amz-Signature=0f&X-Amz-Date=7"],
        [f"https://s3/x?X-Amz-Credential={DROPPED}&X-Amz-Signature={DROPPED}&X-Amz-Date=7"],
    ),
    (["http://localhost:8888/?token=0a1b"], [f"http://localhost:8888/?token={DROPPED}"]),
    (["postgresql://me:word@db/x"], [f"postgresql://me:{DROPPED}@db/x"]),
    (["mysql://me:p@ss:w0rd@db/x"], [f"mysql://me:{DROPPED}@db/x"]),
    ([f"https://{key('', 40)}@host/x.git"], [f"https://{DROPPED}@host/x.git"]),
    (["redis://:word@db/0"], [f"redis://:{DROPPED}@db/0"]),
    (["--pass", "X"], ["--pass", DROPPED]),
    (["--password", "-hunter"], ["--password", DROPPED]),
    (["--token", "-S3CR3T"], ["--token", DROPPED]),
    (["--password", "--S3CR3T"], ["--password", DROPPED]),
    (["--password=a,b c"], [f"--password={DROPPED}"]),
    (["--password", "1234"], ["--password", DROPPED]),
    (["--hub_token", "ABCDEF"], ["--hub_token", DROPPED]),
    (["wandb", "login", "0123456789" * 4], ["wandb", "login", DROPPED]),
    (["--pw", "word"], ["--pw", DROPPED]),
    (["-u", "me:word"], ["-u", f"me:{DROPPED}"]),
    (['{"api_key": "word", "lr": 0.1}'], [f'{{"api_key": "{DROPPED}", "lr": 0.1}}']),
    (['{"a": {"password": "two words"}}'], [f'{{"a": {{"password": "{DROPPED}"}}}}']),
    (["{'token': 'word'}"], [f"{{'token': '{DROPPED}'}}"]),
    (
        ["--model_args", "pretrained=o/m,token=word,lr=1"],
        ["--model_args", f"pretrained=o/m,token={DROPPED},lr=1"],
    ),
    (["+trainer.hub.apiKey=word"], [f"+trainer.hub.apiKey={DROPPED}"]),
    (["-c", "export DB_PASSWD=word; python x.py"], ["-c", f"export DB_PASSWD={DROPPED}; python x.py"]),
    (["AccountName=a;AccountKey=Zm9v==;B=c"], [f"AccountName=a;AccountKey={DROPPED};B=c"]),
    (["--aws-secret-access-key", "word"], ["--aws-secret-access-key", DROPPED]),
    (["--client.secret=word"], [f"--client.secret={DROPPED}"]),
    ([f"--key={key('', 32)}"], [f"--key={DROPPED}"]),
)


@pytest.mark.parametrize(("argv", "kept"), ARGUMENTS)
def test_arguments_lose_their_secrets_and_keep_the_rest(argv: list[str], kept: list[str]) -> None:
    captured = captured_arguments(["prog", *argv, "--lr", "0.1"])
    assert captured.argv == ("prog", *kept, "--lr", "0.1")
    assert captured.dropped


KEPT_SETTINGS = (
    ("tokenizer", "org/tokenizer-7b"), ("max_tokens", "512"), ("max_new_tokens", "512"), ("token_type",
    "bpe"),
    ("num_key_value_heads", "8"), ("key_value_heads", "8"), ("sort_keys", "True"), ("passes", "3"),
    ("n_pass", "2"),
    ("password_field_name", "None"), ("SESSION_NAME", "night"), ("pad_token", "<pad>"), ("eos_token", "</s>"),
    ("mask_token", "[MASK]"), ("bos_token", "begin"), ("stop_tokens", "###"), ("special_tokens", "a,b"),
    ("token", "None"), ("use_auth_token", "True"), ("hub_token", "<HUB_TOKEN>"), ("label_key", "answer"),
    ("key", "question"), ("monkey", "see"), ("keyboard", "qwerty"), ("author", "Ann"),
    ("authors", "Ann, Bob"),
    ("path", "/data/x"), ("num_keys_x", "4"), ("kl_tokens", "20"), ("soft_tokens", "8"), ("one_token",
    "seven"),
    ("tokens_per_second", "1.5e4"), ("cache_key", "ab12" * 16), ("data_key", "0123456789abcdef" * 2),
    ("wandb_run_id", "3k9x2m1q"), ("commit", "9f86d081" * 5), ("sha256", "9f86d081" * 8), ("compass",
    "north"),
    ("pass@1,none", "0.5"), ("signature", "question -> answer"), ("model", "llama-3-8b-instruct-v2"),
    ("session", "2026-01-01-night"), ("secret_name", "db"), ("token_file", "/run/t"), ("rng_key", "17"),
    ("prompt_token", "yes"), ("auth", "None"), ("forward_pass", "2"), ("patience", "3"), ("design", "a"),
)  # fmt: skip


@pytest.mark.parametrize(("name", "value"), KEPT_SETTINGS)
def test_what_only_sounds_like_a_secret_is_kept(name: str, value: str) -> None:
    assert not is_secret_value(name, value)
    written = (f"{name}={value}", f'"{name}": "{value}"', f"--{name} {value}", f"{name}: {value}")
    for text in written:
        assert without_secrets(text) == text
        assert secrets_in(text, is_code=True) == ()
    assert captured_arguments(["x", f"--{name}", value]) == (("x", f"--{name}", value), ())


CODE_WITH_A_SECRET = (
    'password = "hunter2"',
    "DB_PASSWORD=swordfish",
    "export WANDB_API_KEY=" + "0123456789abcdef0123456789abcdef01234567",
    'os.environ["HF_TOKEN"] = "' + MIXED[:24] + '"',
    'client = OpenAI(api_key="' + MIXED[:24] + '")',
    'token: str = "' + MIXED[:24] + '"',
    '"private_key_id": "' + "0123456789abcdef" * 2 + '01234567",',
    "aws_secret_access_key = " + MIXED[:40],
    "machine h login me password word",
    "//registry.example/:_authToken=" + MIXED[:36],
    'headers = {"Authorization": "Bearer ' + MIXED[:20] + '"}',
    '"output": ["WANDB_API_KEY=' + MIXED[:20] + '\\n"]',
    '"source": "login(token=\\"' + MIXED[:20] + '\\")"',
    "!wandb login " + "0123456789" * 4,
    "curl -u me:word https://host",
    "wandb login --relogin; huggingface-cli login --token " + MIXED[:20],
    "url = 'mysql://me:word@host/x'",
    PEM,
    '"private_key": "' + PEM.replace("\n", "\\n") + '"',
    '"auth": "' + MIXED[:24] + '"',
    'getenv("API_TOKEN", "' + MIXED[:24] + '")',
    "secret: " + MIXED[:32],
)


@pytest.mark.parametrize("text", CODE_WITH_A_SECRET)
def test_a_secret_that_is_written_out_in_code_is_seen(text: str) -> None:
    assert secrets_in(f"import x\n{text}\n", is_code=True)
    assert [line for line, _kind in secrets_in_bytes(f"import x\n{text}\n".encode())][:1] == [2]


INNOCENT_CODE = (
    "token = tokenizer.encode(text)[0]",
    "token = self.tokens[index]",
    'password = getpass("Password: ")',
    'api_key=os.environ["OPENAI_API_KEY"]',
    "api_key: str | None = None",
    'parser.add_argument("--hub_token", default=None, help="token of the hub")',
    'f"https://{user}:{password}@{host}"',
    'headers = {"Authorization": f"Bearer {token}"}',
    '"token": " Paris"',
    '{"id": 5, "content": "<unk>", "token": "the"}',
    "export HF_TOKEN=$(cat token)",
    "HF_TOKEN=${HF_TOKEN}",
    "password: ${{ secrets.PYPI }}",
    "  sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "key = jax.random.PRNGKey(0)",
    '"image/png": "iVBORw0KGgo' + MIXED + '"',
    "step 5 | tokens: 12345 | tokens/s: 99.5 | secret loss: 0.1",
    "class SecretToken(Token): pass",
    'FIELDS = ("username", "password", "token")',
    "for key, value in mapping.items():",
    'cache_key = "' + "9f86d081" * 8 + '"',
    "hf_transformers_version = 3",
    "sk-learn, sk-image",
    "--password PASSWORD  the password of the database",
    "git+ssh://git@host/repo.git",
    "token_ids: torch.Tensor",
    'sorted(key="count", reverse=True)',
)


@pytest.mark.parametrize("text", INNOCENT_CODE)
def test_code_that_only_speaks_of_secrets_is_kept(text: str) -> None:
    assert [text[one.start : one.end] for one in secrets_in(text, is_code=True)] == []


def test_paths_where_people_and_programs_keep_secrets() -> None:
    secret = (
        ".env", ".env.local", "prod.env", ".aws/config", "x/.ssh/known_hosts", "id_rsa", "id_ed25519_work",
        "a.pem",
        "server.key", ".netrc", "_netrc", ".npmrc", ".pypirc", ".pgpass", ".git-credentials",
        ".docker/config.json",
        ".kube/config", "kaggle.json", "client_secret_1.json", "service-account.json", "credentials",
        "secrets.yaml",
        ".streamlit/secrets.toml", "my_api_key.txt", ".bash_history", "terraform.tfstate",
        ".huggingface/token",
        "store.jks", "token.json", "hf_token", "db_password.txt",
    )  # fmt: skip
    assert [one for one in secret if not says_secret(one)] == []
    ordinary = (
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "tokens.txt", "secrets.py",
        "tests/test_secrets.py", "auth_token.py", "id_rsa.pub", ".env.example", "keys.csv", "keyboard.py",
        "environment.py",
        "vocab.json", "config.json", "train.py", "monkey.txt", "environment.yml", "password.md",
        "results.json",
    )  # fmt: skip
    assert [one for one in ordinary if says_secret(one)] == []


def lm_eval_run(folder: Path) -> tuple[str, ...]:
    """Write a harness call with credentials in its arguments to *folder*; return them."""
    secrets = (key("hf_", 34, of="a" * 40), key("sk-", 40, of="b" * 40), "swordfish")
    arguments = (
        f"pretrained=org/gated-model,token={secrets[0]},base_url=https://user:{secrets[2]}@host.example/v1,"
        f"api_key={secrets[1]}"
    )
    results = {
        "results": {"mini": {"alias": "mini", "acc,none": 0.6}},
        "configs": {"mini": {"task": "mini", "metadata": {"password": secrets[2], "max_tokens": 5}}},
        "n-samples": {"mini": {"original": 5, "effective": 5}},
        "config": {"model": "hf", "model_args": arguments, "gen_kwargs": {"auth_token": secrets[2]}},
        "model_name": "org/model-a",
        "lm_eval_version": "0.4.8",
    }
    folder.mkdir()
    text = json.dumps(results, indent=2)
    (folder / "results_2025-03-01T10-00-00.000001.json").write_text(text)
    (folder / "image.bin").write_bytes(bytes(range(256)) * 8)
    return secrets


def test_credentials_in_a_configuration_reach_no_manifest_and_are_told_of_in_the_kept_file(
    workspace: Workspace, tmp_path: Path
) -> None:
    secrets = lm_eval_run(tmp_path / "r")
    manifest = preserve(workspace, PreserveRequest(tmp_path / "r"))
    written = workspace.manifest_path("r").read_text()
    for secret in secrets:
        assert secret not in written
    effective = manifest.sealed.configuration.effective
    arguments = json.loads(str(effective["model_args"]))
    assert arguments == {
        "api_key": DROPPED,
        "base_url": f"https://user:{DROPPED}@host.example/v1",
        "pretrained": "org/gated-model",
        "token": DROPPED,
    }
    assert canonical_digest(dict(effective)) == manifest.sealed.configuration.effective_digest
    found = [one for one in validate(workspace).findings if one.rule == "RK111"]
    place = "results_2025-03-01T10-00-00.000001.json"
    assert [(one.severity, one.place) for one in found] == [("warning", place)] * len(found)
    assert f"a kept file holds what looks like a secret: {place}:25, a Hugging Face token" in [
        one.message for one in found
    ]
    for secret in secrets:
        assert not any(secret in one.message for one in found)


def test_the_digest_of_a_configuration_says_nothing_of_its_secrets(
    workspace: Workspace, tmp_path: Path
) -> None:
    digests = set()
    for name in ("r", "s"):
        lm_eval_run(tmp_path / name)
        path = next((tmp_path / name).glob("results_*.json"))
        if name == "s":
            path.write_text(path.read_text().replace("swordfish", "hunter").replace("a" * 34, "c" * 40))
        manifest = preserve(workspace, PreserveRequest(tmp_path / name))
        digests.add(manifest.sealed.configuration.effective_digest)
    assert len(digests) == 1


def test_push_refuses_what_looks_secret_until_somebody_says_so(workspace: Workspace, tmp_path: Path) -> None:
    lm_eval_run(tmp_path / "r")
    root = ["--workspace", str(workspace.root)]
    kept = CliRunner().invoke(app, ["preserve", str(tmp_path / "r"), *root])
    assert "  warning     RK111 a kept file holds what looks like a secret: results_" in kept.output
    there = tmp_path / "there"
    there.mkdir()
    refused = CliRunner().invoke(app, ["push", there.as_uri(), *root])
    assert refused.exit_code == 2
    assert "--despite-secrets" in refused.output
    assert list(there.rglob("*.json")) == []
    packed = CliRunner().invoke(app, ["pack", str(tmp_path / "p.tar.zst"), *root])
    assert packed.exit_code == 0
    assert "warning 'r' RK111" in packed.output
    assert "do not publish" in packed.output
    accepted = ["note", "r", "--waive", "RK111", "--every", "--because", "revoked in March", *root]
    assert CliRunner().invoke(app, accepted).exit_code == 0
    assert CliRunner().invoke(app, ["push", there.as_uri(), *root]).exit_code == 0
    assert "RK111" not in CliRunner().invoke(app, ["pack", str(tmp_path / "q.tar.zst"), *root]).output


def test_push_sends_it_all_the_same_when_told_to(workspace: Workspace, tmp_path: Path) -> None:
    lm_eval_run(tmp_path / "r")
    preserve(workspace, PreserveRequest(tmp_path / "r"))
    command = ["push", (tmp_path / "there").as_uri(), "--despite-secrets", "--workspace", str(workspace.root)]
    assert CliRunner().invoke(app, command).exit_code == 0


def test_notes_with_a_secret_are_refused(workspace: Workspace, cluster_run: Path) -> None:
    run_id = preserve(workspace, PreserveRequest(cluster_run)).run_id
    token = key("hf_", 34, of="a" * 40)
    with pytest.raises(UsageError) as caught:
        note(workspace, run_id, change=lambda notes: notes.model_copy(update={"why": f"used {token}"}))
    assert str(caught.value) == (
        "the notes hold what looks like a secret (a Hugging Face token), and notes are published; nothing "
        "was "
        "noted, say it without"
    )
    assert token not in workspace.manifest_path(run_id).read_text()


def test_large_logs_and_binary_files_are_looked_into_as_far_as_that_is_quick(tmp_path: Path) -> None:
    token = key("hf_", 34, of="a" * 40)
    line = b"step 17 | loss 1.25 | tokens/s: 12345 | num_tokens: 99 | lr: 1e-4\n"
    log = tmp_path / "train.log"
    log.write_bytes(line * 400_000 + f"logged in with {token}\n".encode() + line)
    assert secrets_in_file(log) == ((400_001, "a Hugging Face token"),)
    log.write_bytes(b'{"token": "the", "secret_rank": 5}\n' * 150_000 + f"logged in with {token}\n".encode())
    assert secrets_in_file(log) == ((150_001, "a Hugging Face token"),)
    arguments = tmp_path / "training_args.bin"
    arguments.write_bytes(b"\0\x80\x04" + token.encode() + b"\x94\0PWD=\xff\xfe\n")
    assert secrets_in_file(arguments) == ((1, "a Hugging Face token"),)
    (tmp_path / "windows.txt").write_text(f"x\nHF_TOKEN={token}\n", encoding="utf-16")
    assert secrets_in_file(tmp_path / "windows.txt") == ((2, "a Hugging Face token"),)


def test_nothing_of_this_repository_s_archive_looks_secret() -> None:
    """The false positives of 90 runs with logs, dumps, tokenizers and weights: none."""
    kept = [
        path for path in (ROOT / "preserved_runs").rglob("*") if path.is_file() and path.suffix != ".parquet"
    ]
    assert len(kept) > 50
    assert [path for path in kept if secrets_in_file(path)] == []
    manifests = sorted((ROOT / "manifests").glob("*.json"))[::6]
    for path in manifests:
        text = path.read_text()
        assert without_secrets(text) == text


def test_a_secret_far_into_a_file_in_utf_16_is_found_at_its_line(tmp_path: Path) -> None:
    lines = ["nothing here ĊĀ"] * 150_000  # two letters whose bytes look like the end of a line
    lines[140_000] = "api_key: " + "sk-" + "a1B2" * 10
    path = tmp_path / "log.txt"
    for encoding in ("utf-16", "utf-16-be"):
        mark = "" if encoding == "utf-16" else "\ufeff"
        path.write_bytes((mark + "\n".join(lines)).encode(encoding))
        assert path.stat().st_size > 4 << 20
        assert [line for line, _kind in secrets_in_file(path)] == [140_001]
