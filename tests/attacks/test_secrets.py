"""Nothing that lets its reader in anywhere is written down, and what only looks like it is kept.

The secrets are put together when the tests run, so that no scanner of a code host takes them for real ones.
"""

from __future__ import annotations

import pytest

from runkit.archive.environment import DROPPED, captured_arguments
from runkit.secrets.paths import says_secret
from runkit.secrets.text import is_secret_value, secrets_in, without_secrets

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
    (["redis://:word@db/0"], [f"redis://:{DROPPED}@db/0"]),
    (["--pass", "X"], ["--pass", DROPPED]),
    (["--password", "-hunter"], ["--password", DROPPED]),
    (["--token", "-S3CR3T"], ["--token", DROPPED]),
    (["--password", "--S3CR3T"], ["--password", DROPPED]),
    (["--password=a,b c"], [f"--password={DROPPED}"]),
    (["--password", "1234"], ["--password", DROPPED]),
    (["--hub_token", "ABCDEF"], ["--hub_token", DROPPED]),
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
