"""The shared branch embeds and classifies people, the specific branch tells domains."""

import torch

from daam.model.branches import SharedBranch, SpecificBranch
from daam.model.pooling import AveragePooling, GemPooling


def make_maps(num_images: int = 6) -> torch.Tensor:
    return torch.randn(num_images, 8, 4, 2, generator=torch.Generator().manual_seed(0))


def test_the_embedding_is_the_pooled_map_and_the_bottleneck_its_norm_over_the_batch():
    for pooling in (AveragePooling(), GemPooling()):
        branch = SharedBranch(8, num_identities=5, pooling=pooling)
        pooled, bottleneck = branch(make_maps())
        assert torch.equal(pooled, pooling(make_maps()))
        by_hand = (pooled - pooled.mean(dim=0)) / (pooled.var(dim=0, unbiased=False) + 1e-5).sqrt()
        torch.testing.assert_close(bottleneck, by_hand, rtol=1e-4, atol=1e-5)


def test_the_bottleneck_has_no_bias_to_learn():
    branch = SharedBranch(8, num_identities=5, pooling=AveragePooling())
    assert not branch.bottleneck.bias.requires_grad
    assert branch.bottleneck.bias.eq(0).all()
    assert branch.classifier.bias is None
    assert branch.classifier.weight.shape == (5, 8)


def test_the_specific_branch_gives_two_logits_for_every_image():
    assert SpecificBranch(8)(torch.randn(6, 8)).shape == (6, 2)
