"""Inputs that once ended badly, a file each: corpus/TARGET/DIGEST."""

import hashlib
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"


def findings(target: str) -> list[Path]:
    """The files of a target."""
    return sorted((CORPUS / target).glob("*"))


def keep(target: str, data: bytes) -> Path:
    """Write an input that ended badly."""
    path = CORPUS / target / hashlib.sha256(data).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
