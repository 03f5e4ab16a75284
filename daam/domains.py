"""Splits of a domain, and transfers from one domain to another."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from daam.errors import ConfigError

DOMAIN_PATTERN = r"[a-z0-9][a-z0-9_-]{0,63}"


class Split(StrEnum):
    """A part of a domain. The two validation splits are identities cut from its train split."""

    TRAIN = "train"
    VALIDATION_QUERY = "validation_query"
    VALIDATION_GALLERY = "validation_gallery"
    QUERY = "query"
    GALLERY = "gallery"


# Identity labels of gallery images without an identity; identities count from 1.
DISTRACTOR = 0
JUNK = -1

VALIDATION_SPLITS = (Split.VALIDATION_QUERY, Split.VALIDATION_GALLERY)
WHOLE_TRAIN_SPLITS = (Split.TRAIN, *VALIDATION_SPLITS)


@dataclass(frozen=True, slots=True)
class Transfer:
    """From one domain with identity labels (source), or several, to one without (target)."""

    sources: tuple[str, ...]
    target: str

    def __post_init__(self) -> None:
        for domain in self.domains():
            check_domain(domain)
        if self.target in self.sources:
            raise ConfigError(
                f"transfer {self} has the same source and target; "
                "name two different domains, for example plaza->campus"
            )
        if len(set(self.sources)) < len(self.sources):
            raise ConfigError(f"transfer {self} names a source twice; name each once")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `source->target` or `source+source->target`.

        Raises:
            ConfigError: the text is not different domain names around an arrow.
        """
        sources, arrow, target = (part.strip() for part in text.partition("->"))
        names = tuple(name.strip() for name in sources.split("+"))
        if not arrow or not target or "->" in target or not all(names):
            raise ConfigError(
                f"transfer {text!r} is not of the form source->target, for example plaza->campus "
                "(quote it in a shell, where > redirects)"
            )
        return cls(names, target)

    def __str__(self) -> str:
        return f"{self.source}->{self.target}"

    @property
    def source(self) -> str:
        """The sources, in text."""
        return "+".join(self.sources)

    def domains(self) -> tuple[str, ...]:
        """All domains, the sources first."""
        return (*self.sources, self.target)


def check_domain(name: str) -> str:
    """Return the name if it is a valid domain name.

    Raises:
        ConfigError: it is not 1 to 64 lower-case letters, digits, `-` and `_`.
    """
    if not is_domain_name(name):
        raise ConfigError(
            f"domain {name!r} is not a domain name; use up to 64 lower-case letters, digits, - and "
            "_, a letter or digit first"
        )
    return name


def is_domain_name(text: str) -> bool:
    """Whether a domain may have this name."""
    return re.fullmatch(DOMAIN_PATTERN, text) is not None
