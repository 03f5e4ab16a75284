"""All targets by name; the modules of each are imported when it is asked for."""

from collections.abc import Callable
from importlib import import_module

from tests.fuzz.target import Target


def _from(module: str, function: str, *arguments: str) -> Callable[[], Target]:
    return lambda: getattr(import_module(f"tests.fuzz.{module}"), function)(*arguments)


TARGETS: dict[str, Callable[[], Target]] = {
    "labels": _from("domain_files", "labels"),
    "index": _from("domain_files", "index"),
    "shard": _from("domain_files", "shard"),
    "verify-labels": _from("domain_files", "verified", "labels"),
    "verify-index": _from("domain_files", "verified", "index"),
    "verify-shard": _from("domain_files", "verified", "shard"),
    "cached-shard": _from("cached_shard", "target"),
    "image": _from("images", "target"),
    "stored-image": _from("images", "stored"),
    "embeddings": _from("embeddings", "target"),
    "csv": _from("tables", "csv"),
    "parquet": _from("tables", "parquet"),
    "manifest": _from("manifest", "target"),
    "run-settings": _from("run_files", "settings"),
    "pointer": _from("run_files", "pointer"),
    "reports": _from("run_files", "reports"),
    "scores": _from("run_files", "scores"),
    "results": _from("run_files", "results"),
    "owner": _from("run_files", "owner"),
    "checkpoint": _from("run_files", "checkpoint"),
    "weights": _from("run_files", "weights"),
    "study-settings": _from("study_files", "settings"),
    "journal": _from("study_files", "journal"),
    "race": _from("study_files", "race"),
    "events": _from("study_files", "events"),
    "sessions": _from("study_files", "sessions"),
}
