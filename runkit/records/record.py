"""The base of all records: frozen, strict, closed, and parsed from text in one place."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    StringConstraints,
    ValidationError,
    model_serializer,
)

from runkit.errors import RecordInvalid

Scalar = bool | int | float | str | None
"""A value that a configuration can hold."""


def _frozen(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(dict(mapping))


TextMap = Annotated[Mapping[str, str], AfterValidator(_frozen), PlainSerializer(dict)]
"""Names to texts, read-only after parsing."""

ScalarMap = Annotated[Mapping[str, Scalar], AfterValidator(_frozen), PlainSerializer(dict)]
"""Names to scalars, read-only after parsing."""

_MOST_ERRORS = 100
"""Bad fields that one message names."""

EMPTY: Mapping[str, str] = _frozen({})
"""No names: what a map that older records do not have is read as."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 digest in lower-case hexadecimal."""

RunId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$")]
"""A run's name in the archive: safe as a file name on every system."""


class Record(BaseModel):
    """A frozen value with named fields; unknown fields, NaN and silent conversions are refused.

    Its validator is built when the first one is parsed, and the texts below its fields are read when a
    schema is published: together they took a third of the time in which a verb starts.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        defer_build=True,
    )

    @classmethod
    def parse(cls, text: str | bytes, *, origin: str) -> Self:
        """Return the record that *text*, a JSON document, says.

        Args:
            origin: Where the text came from, for the message; usually a path.
        Raises:
            RecordInvalid: Naming *origin* and every bad field by its path, with what was expected.
        """
        try:
            return cls.model_validate_json(text)
        except RecursionError as error:
            raise RecordInvalid(f"{origin} is not a valid {_spoken(cls)}: it is nested too deeply") from error
        except ValidationError as error:
            raise RecordInvalid(f"{origin} is not a valid {_spoken(cls)}: {_bad_fields(error)}") from error

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], *, origin: str) -> Self:
        """Return the record for *mapping*, already-parsed TOML or JSON; errors as in :meth:`parse`."""
        try:
            text = json.dumps(mapping, allow_nan=False)
        except RecursionError as error:
            raise RecordInvalid(f"{origin} is not a valid {_spoken(cls)}: it is nested too deeply") from error
        except (TypeError, ValueError) as error:
            raise RecordInvalid(f"{origin} is not a valid {_spoken(cls)}: {error}") from error
        return cls.parse(text, origin=origin)

    def to_json(self) -> str:
        """Return the text that :meth:`parse` reads back as an equal record, for people and for git."""
        return json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def content_digest(self) -> str:
        """Return the SHA-256 of the record's canonical JSON."""
        return canonical_digest(self.model_dump(mode="json"))


class GrownRecord(Record):
    """A record that has fields younger than sealed files: each is left out while it has its default.

    So a file that was written before they existed parses to a record that is written as the same bytes
    and has the same digest.
    """

    younger: ClassVar[frozenset[str]] = frozenset()
    """Names of the younger fields; all of them have defaults."""

    @model_serializer(mode="wrap")
    def _without_younger_defaults(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document: dict[str, Any] = serialize(self)
        for name in self.younger:
            if getattr(self, name) == type(self).model_fields[name].get_default(call_default_factory=True):
                document.pop(name, None)
        return document


def canonical_json(value: Any) -> str:
    """Return the one JSON text of *value*: keys sorted, no white space, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_digest(value: Any) -> str:
    """Return the SHA-256 of :func:`canonical_json` in UTF-8."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def _spoken(cls: type[Record]) -> str:
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in cls.__name__)
    return words.strip()


def _bad_fields(error: ValidationError) -> str:
    parts = []
    num_errors = error.error_count()
    for detail in error.errors(include_url=False, include_context=False, include_input=False)[:_MOST_ERRORS]:
        place = ".".join(str(part) for part in detail["loc"]) or "the whole file"
        message = detail["msg"][:1].lower() + detail["msg"][1:]
        parts.append(f"{place}: {message}".replace("\n", " "))
    if num_errors > _MOST_ERRORS:
        parts.append(f"{num_errors - _MOST_ERRORS:,} more")
    return "; ".join(parts)
