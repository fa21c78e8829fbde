"""What tokens look like, by the forms that their issuers document; judges no value without a form.

Each form begins with a literal, so that a long text without it is passed over in one search.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Form(NamedTuple):
    """One kind of token."""

    kind: str
    anchors: tuple[str, ...]
    """One of these stands in each token of the form; what :attr:`pattern` finds begins with it."""
    pattern: re.Pattern[str]
    """The group ``value`` is the secret; without one the whole is."""
    may_follow_a_letter: bool = False


def _form(kind: str, anchors: str, tail: str, *, may_follow_a_letter: bool = False) -> Form:
    literals = tuple(anchors.split())
    heads = "|".join(map(re.escape, literals))
    return Form(kind, literals, re.compile(f"(?:{heads}){tail}"), may_follow_a_letter)


_REST = r"[A-Za-z0-9_-]"

FORMS: tuple[Form, ...] = (
    Form(
        "a private key",
        ("-----BEGIN ",),
        re.compile(
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:\s|\\+[nr]|[\"',+])*[A-Za-z0-9+/=:-]{8}"
            r"[\s\S]*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)"
        ),
        may_follow_a_letter=True,
    ),
    _form("a private key", "PuTTY-User-Key-File-", r"\d", may_follow_a_letter=True),
    _form("a private key", "AGE-SECRET-KEY-1", r"[A-Z0-9]{20,}"),
    _form("a Hugging Face token", "hf_", r"[A-Za-z0-9]{20,}"),
    _form("a Hugging Face token", "api_org_", r"[A-Za-z0-9]{20,}"),
    _form("a GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_", r"[A-Za-z0-9]{16,}"),
    _form("a GitHub token", "github_pat_", r"\w{16,}"),
    _form(
        "a GitLab token",
        "glpat- gldt- glft- glsoat- glrt- glcbt- glptt- glagent- glimt- glffct- gloas- GR1348941",
        rf"(?:{_REST}|\.){{16,}}",
    ),
    _form("an Anthropic key", "sk-ant-", rf"{_REST}{{16,}}"),
    _form("an OpenAI key", "sk-proj- sk-svcacct- sk-admin- sk-None- sk-or-", rf"{_REST}{{16,}}"),
    _form("an OpenAI key", "sk-", r"[A-Za-z0-9]{20,}"),
    _form("an API key", "sk_", r"[A-Za-z0-9]{20,}"),
    _form("an AWS access key", "AKIA ASIA ABIA ACCA", r"[A-Z0-9]{16}(?![A-Za-z0-9])"),
    _form("a Google API key", "AIza", rf"{_REST}{{35}}"),
    _form("a Google OAuth token", "ya29. GOCSPX-", r"[A-Za-z0-9_.-]{20,}"),
    _form("a Google refresh token", "1//0", rf"{_REST}{{40,}}"),
    _form("a Slack token", "xoxa- xoxb- xoxe- xoxe. xoxo- xoxp- xoxr- xoxs- xapp-", r"[A-Za-z0-9.-]{10,}"),
    _form("a webhook", "hooks.slack.com/", r"[A-Za-z]+/[A-Za-z0-9/_-]{16,}"),
    _form("a webhook", "discord.com/api/webhooks/ discordapp.com/api/webhooks/", r"\d+/[\w-]{16,}"),
    _form("a JSON web token", "eyJ", rf"{_REST}{{8,}}\.eyJ{_REST}{{8,}}\.(?:{_REST}{{8,}})?"),
    _form("a Neptune token", "eyJhcGlfYWRkcmVzcyI6", r"[A-Za-z0-9+/=_-]{20,}"),
    _form("an npm token", "npm_", r"[A-Za-z0-9]{30,}"),
    _form("a PyPI token", "pypi-", rf"{_REST}{{40,}}"),
    _form("a Stripe key", "sk_live_ sk_test_ rk_live_ rk_test_", r"[A-Za-z0-9]{10,}"),
    _form("a webhook's secret", "whsec_", r"[A-Za-z0-9+/=]{20,}"),
    _form("a SendGrid key", "SG.", rf"{_REST}{{16,}}\.{_REST}{{16,}}"),
    _form("a Mailgun key", "key-", r"[0-9a-f]{32}(?![0-9a-z])"),
    _form("a Databricks token", "dapi", r"[0-9a-f]{32}"),
    _form("a DigitalOcean token", "dop_v1_ doo_v1_ dor_v1_", r"[0-9a-f]{40,}"),
    _form("a Docker token", "dckr_pat_ dckr_oat_", rf"{_REST}{{20,}}"),
    _form("an NVIDIA key", "nvapi-", rf"{_REST}{{30,}}"),
    _form("a Groq key", "gsk_", r"[A-Za-z0-9]{30,}"),
    _form("an xAI key", "xai-", r"[A-Za-z0-9]{40,}"),
    _form("a Perplexity key", "pplx-", r"[A-Za-z0-9]{30,}"),
    _form("a Replicate token", "r8_", r"[A-Za-z0-9]{30,}"),
    _form("a LangSmith key", "lsv2_pt_ lsv2_sk_", r"\w{20,}"),
    _form("a Pinecone key", "pcsk_", r"\w{20,}"),
    _form("a Kaggle token", "KGAT_", r"[0-9a-f]{20,}"),
    _form("a W&B key", "wandb_v1_", rf"{_REST}{{20,}}"),
    _form("a Notion token", "ntn_", r"[A-Za-z0-9]{40,}"),
    _form("a Vault token", "hvs. hvb. hvr.", rf"{_REST}{{20,}}"),
    _form("a Shopify token", "shpat_ shpca_ shppa_ shpss_", r"[0-9a-fA-F]{32}"),
    _form("a Tailscale key", "tskey-", rf"{_REST}{{16,}}"),
    _form("a Supabase token", "sbp_", r"[0-9a-f]{40}"),
    _form("a Grafana token", "glsa_ glc_", r"[A-Za-z0-9_+/=]{20,}"),
    _form("a Sentry token", "sntrys_ sntryu_", r"[A-Za-z0-9_+/=-]{20,}"),
    _form("an Atlassian token", "ATATT3", r"[A-Za-z0-9_=-]{40,}"),
    _form("a Linear key", "lin_api_", r"[A-Za-z0-9]{20,}"),
    _form("a RunPod key", "rpa_", r"[A-Z0-9]{30,}"),
    _form("an Alibaba key", "LTAI", r"[A-Za-z0-9]{16,26}(?![A-Za-z0-9])"),
)

UNANCHORED: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "a Telegram bot token",
        re.compile(r"(?:(?<![\w:])|(?<=\\n))[0-9]{8,10}:(?:AA[\w-]{33}|[\w-]{35})(?![\w-])"),
    ),
    ("an Azure client secret", re.compile(r"(?<![\w~.-])[\w~.-]{3}[0-9]Q~[\w~.-]{31,34}(?![\w~.-])")),
    ("a Twilio key", re.compile(r"(?<![\w])SK[0-9a-f]{32}(?!\w)")),
    ("a Mailchimp key", re.compile(r"(?<![\w])[0-9a-f]{32}-us[0-9]{1,2}(?!\w)")),
)
"""Forms without a literal at their head."""
