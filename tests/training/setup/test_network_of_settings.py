"""The network that settings describe, and the weights it starts from."""

import io

import pytest
import torch

from daam.errors import ConfigError, DaamError
from daam.storage import Store
from daam.training.setup.network import backbone_of, build_network


def test_weights_come_from_a_store_as_from_a_file(config_of, store: Store, tmp_path):
    torch.manual_seed(3)
    config = config_of({"model.backbone": "resnet18", "model.weights": "none"})
    trunk = backbone_of(config)
    names = ["conv1", "bn1", None, None, "layer1", "layer2", "layer3", "layer4"]
    weights = {
        f"{name}.{key}": value
        for name, stage in zip(names, trunk, strict=True)
        for key, value in stage.state_dict().items()
    }
    file = io.BytesIO()
    torch.save(weights, file)
    store.write("resnet18.pt", file.getvalue())
    config = config_of({"model.backbone": "resnet18", "model.weights": f"{store.uri}/resnet18.pt"})
    found = build_network(config, num_identities=7).backbone.state_dict()
    assert all(torch.equal(value, found[key]) for key, value in trunk.state_dict().items())


def test_weights_that_are_missing_or_no_weights_are_named(config_of, s3_uri):
    config = config_of({"model.backbone": "resnet18", "model.weights": f"{s3_uri}/none.pt"})
    with pytest.raises(DaamError, match=f"{s3_uri}/none.pt"):
        build_network(config, num_identities=7)


def test_a_file_that_is_no_state_dict_is_refused(config_of, store: Store):
    store.write("notes.pt", b"not weights")
    config = config_of({"model.backbone": "resnet18", "model.weights": f"{store.uri}/notes.pt"})
    with pytest.raises(ConfigError, match=r"notes\.pt is not a PyTorch state dict"):
        build_network(config, num_identities=7)
