from dataclasses import replace
from pathlib import Path

from daam.commands.train import next_step
from daam.config.load import with_settings
from daam.config.schema import RunConfig
from daam.dataset.format.manifest import manifest_key, read_manifest
from daam.domains import Split
from daam.storage import open_store


def test_the_next_step_fits_what_the_target_has(tiny_config: RunConfig, tmp_path: Path) -> None:
    assert "daam evaluate --checkpoint runs/a --domain campus" in next_step(tiny_config, "runs/a")
    manifest = read_manifest(open_store(tiny_config.data.root), "campus")
    train_alone = replace(manifest, splits={Split.TRAIN: manifest.split(Split.TRAIN)})
    open_store(str(tmp_path)).write(manifest_key("campus"), train_alone.to_json())
    config = with_settings(tiny_config, {"data.root": str(tmp_path)})
    unlabelled = next_step(config, "runs/a")
    assert "without labels: daam evaluate --checkpoint runs/a --domain campus" in unlabelled
