"""The objective against loops: its terms, their weighted sum, and what it remembers."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from daam.model.network import ModelOutput
from daam.training.objective import BatchGroups, LossReport, Memory, Objective, Weights

NUM_SOURCE, NUM_TARGET, NUM_CHANNELS, NUM_IDENTITIES, NUM_GROUPS = 6, 4, 5, 3, 2
IDENTITIES = torch.tensor([0, 0, 1, 1, 2, 2])
GROUPS = torch.tensor([1, 0, -1, 1])
OBJECTIVE = Objective(
    label_smoothing=0.1,
    triplet_margin=0.3,
    nominal_spread_weight=0.7,
    nominal_momentum=0.9,
    target_temperature=0.2,
    soft_target_temperature=0.5,
    target_softness=0.3,
    centre_momentum=0.2,
)
ALL = Weights(triplet=0.5, domain_similarity=3.0, domain_classification=0.25, target=2.0)
NO_ATTENTION = Weights(triplet=0.5, domain_similarity=3.0, domain_classification=0.0, target=2.0)


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make_output(
    *, num_target: int = NUM_TARGET, with_attention: bool = True, seed: int = 0
) -> ModelOutput:
    num_images = NUM_SOURCE + num_target
    logits = random(num_images, 2, seed=seed + 3).requires_grad_() if with_attention else None
    return ModelOutput(
        features_BCHW=random(num_images, NUM_CHANNELS, 2, 1, seed=seed),
        attention_BCHW=None,
        shared_BC=random(num_images, NUM_CHANNELS, seed=seed).requires_grad_(),
        bottleneck_BC=random(num_images, NUM_CHANNELS, seed=seed + 1).requires_grad_(),
        identity_logits_SI=random(NUM_SOURCE, NUM_IDENTITIES, seed=seed + 2).requires_grad_(),
        specific_BC=None,
        domain_logits_B2=logits,
        similarity_logits=None,
    )


def make_groups() -> BatchGroups:
    return BatchGroups(
        of_images_T=GROUPS,
        embeddings_TC=F.normalize(random(NUM_TARGET, NUM_CHANNELS, seed=7), dim=1),
    )


def make_memory() -> Memory:
    return Memory(centres_KC=F.normalize(random(NUM_GROUPS, NUM_CHANNELS, seed=8), dim=1))


def loss_of(output: ModelOutput, weights: Weights = ALL, **changes) -> LossReport:
    given = {"identities_S": IDENTITIES, "groups": make_groups(), "memory": make_memory()}
    return OBJECTIVE(output, weights=weights, **{**given, **changes})


def log_softmax(logits: list[float]) -> list[float]:
    total = math.log(sum(math.exp(logit) for logit in logits))
    return [logit - total for logit in logits]


def unit(vectors: Tensor) -> list[list[float]]:
    return [[value / math.hypot(*row) for value in row] for row in vectors.tolist()]


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def moments_by_hand(rows: list[list[float]]) -> tuple[list[float], list[float]]:
    means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    spreads = [
        math.sqrt(sum((value - mean) ** 2 for value in column) / len(rows))
        for column, mean in zip(zip(*rows, strict=True), means, strict=True)
    ]
    return means, spreads


def middle(output: ModelOutput) -> tuple[list[float], list[float]]:
    """The nominal domain after a first batch: halfway between the two domains."""
    shared = unit(output.shared_BC)
    both = [moments_by_hand(shared[:NUM_SOURCE]), moments_by_hand(shared[NUM_SOURCE:])]
    centre, spread = (
        [(a + b) / 2 for a, b in zip(source, target, strict=True)]
        for source, target in zip(*both, strict=True)
    )
    return centre, spread


def terms_by_hand(output: ModelOutput) -> dict[str, float]:
    identities = IDENTITIES.tolist()
    identity = 0.0
    for logits, label in zip(output.identity_logits_SI.tolist(), identities, strict=True):
        logs = log_softmax(logits)
        identity -= 0.9 * logs[label] + 0.1 * sum(logs) / NUM_IDENTITIES

    shared = unit(output.shared_BC)
    triplet = 0.0
    for a in range(NUM_SOURCE):
        distances = [1 - dot(shared[a], shared[b]) for b in range(NUM_SOURCE)]
        alike = [identities[b] == identities[a] for b in range(NUM_SOURCE)]
        furthest = max(distances[b] for b in range(NUM_SOURCE) if alike[b] and b != a)
        nearest = min(distances[b] for b in range(NUM_SOURCE) if not alike[b])
        triplet += max(0.0, furthest - nearest + 0.3)

    classification = 0.0
    assert output.domain_logits_B2 is not None
    logs_of_all = [log_softmax(logits) for logits in output.domain_logits_B2.tolist()]
    classification -= sum(logs[0] for logs in logs_of_all[:NUM_SOURCE]) / NUM_SOURCE / 2
    classification -= sum(logs[1] for logs in logs_of_all[NUM_SOURCE:]) / NUM_TARGET / 2

    centre, spread = middle(output)
    similarity = 0.0
    for rows in (shared[:NUM_SOURCE], shared[NUM_SOURCE:]):
        means, spreads = moments_by_hand(rows)
        similarity += sum((m - c) ** 2 for m, c in zip(means, centre, strict=True))
        similarity += 0.7 * sum((v - r) ** 2 for v, r in zip(spreads, spread, strict=True))

    centres = make_memory().centres_KC
    assert centres is not None
    target = 0.0
    for image, (embedding, start) in enumerate(
        zip(
            unit(output.bottleneck_BC)[NUM_SOURCE:],
            make_groups().embeddings_TC.tolist(),
            strict=True,
        )
    ):
        group = int(GROUPS[image])
        if group < 0:
            continue
        logs = log_softmax([dot(embedding, c) / 0.2 for c in centres.tolist()])
        soft = [
            math.exp(log) for log in log_softmax([dot(start, c) / 0.5 for c in centres.tolist()])
        ]
        for k in range(NUM_GROUPS):
            target -= (0.7 * (k == group) + 0.3 * soft[k]) * logs[k] / 3
    return {
        "identity": identity / NUM_SOURCE,
        "triplet": triplet / NUM_SOURCE,
        "domain_classification": classification,
        "domain_similarity": similarity,
        "target": target,
    }


def test_the_terms_and_their_weighted_sum_match_the_loop():
    output = make_output()
    report = loss_of(output)
    expected = terms_by_hand(output)
    assert {name: term.item() for name, term in report.terms.items()} == pytest.approx(
        expected, abs=1e-5
    )
    total = (
        expected["identity"]
        + 0.5 * expected["triplet"]
        + 3.0 * expected["domain_similarity"]
        + 0.25 * expected["domain_classification"]
        + 2.0 * expected["target"]
    )
    assert report.total.item() == pytest.approx(total, abs=1e-5)


def test_the_gradient_is_the_weighted_sum_of_the_terms_gradients():
    output = make_output()
    report = loss_of(output)
    leaves = [
        output.shared_BC,
        output.bottleneck_BC,
        output.identity_logits_SI,
        output.domain_logits_B2,
    ]
    scale = {"identity": 1.0, "triplet": 0.5, "domain_similarity": 3.0}
    scale |= {"domain_classification": 0.25, "target": 2.0}
    expected = [torch.zeros_like(leaf) for leaf in leaves if leaf is not None]
    for name, term in report.terms.items():
        parts = torch.autograd.grad(term, leaves, retain_graph=True, allow_unused=True)
        for at, part in enumerate(parts):
            if part is not None:
                expected[at] += scale[name] * part
    report.total.backward()
    for leaf, gradient in zip(leaves, expected, strict=True):
        assert leaf is not None
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()
        torch.testing.assert_close(leaf.grad, gradient)


def test_a_weight_of_zero_leaves_its_term_out_of_the_gradient():
    nothing = Weights(triplet=0, domain_similarity=0, domain_classification=0, target=0)
    output, memory = make_output(), Memory()
    report = loss_of(output, nothing, groups=None, memory=memory)
    assert set(report.terms) == {"identity", "domain_classification"}
    assert report.total.item() == pytest.approx(report.terms["identity"].item())
    report.total.backward()
    assert output.shared_BC.grad is None
    assert output.bottleneck_BC.grad is None
    assert output.domain_logits_B2 is not None
    # Zero, but there: under data parallelism a weight without a gradient would be missed.
    assert output.domain_logits_B2.grad is not None
    assert output.domain_logits_B2.grad.eq(0).all()
    assert memory == Memory()


def test_a_batch_of_the_source_alone_is_enough_in_the_warm_up():
    warm_up = Weights(triplet=1, domain_similarity=0, domain_classification=0, target=0)
    report = loss_of(make_output(num_target=0), warm_up, groups=None, memory=Memory())
    assert set(report.terms) == {"identity", "triplet", "domain_classification"}
    assert report.total.isfinite()


def test_a_network_without_attention_has_no_domain_classification():
    report = loss_of(make_output(with_attention=False), NO_ATTENTION)
    assert set(report.terms) == {"identity", "triplet", "domain_similarity", "target"}


def test_the_nominal_domain_begins_between_the_domains_and_follows_as_an_average():
    first, second, memory = make_output(), make_output(seed=20), Memory()
    loss_of(first, groups=None, memory=memory)
    centre, spread = middle(first)
    assert memory.nominal_centre is not None
    assert memory.nominal_spread is not None
    assert memory.nominal_centre.tolist() == pytest.approx(centre, abs=1e-6)
    assert memory.nominal_spread.tolist() == pytest.approx(spread, abs=1e-6)

    loss_of(second, groups=None, memory=memory)
    for found, before, seen in zip(
        (memory.nominal_centre, memory.nominal_spread),
        (centre, spread),
        middle(second),
        strict=True,
    ):
        moved = [0.9 * old + 0.1 * new for old, new in zip(before, seen, strict=True)]
        assert found.tolist() == pytest.approx(moved, abs=1e-6)
    assert not memory.nominal_centre.requires_grad


def test_centres_follow_the_targets_images_after_they_are_compared():
    output, memory = make_output(), make_memory()
    before = make_memory().centres_KC
    assert before is not None
    loss_of(output, memory=memory)
    embeddings = unit(output.bottleneck_BC)[NUM_SOURCE:]
    assert memory.centres_KC is not None
    for group in range(NUM_GROUPS):
        members = [embeddings[i] for i in range(NUM_TARGET) if GROUPS[i] == group]
        mean = [sum(column) / len(members) for column in zip(*members, strict=True)]
        moved = [0.2 * c + 0.8 * m for c, m in zip(before[group].tolist(), mean, strict=True)]
        length = math.hypot(*moved)
        assert memory.centres_KC[group].tolist() == pytest.approx(
            [value / length for value in moved], abs=1e-6
        )
    assert not memory.centres_KC.requires_grad


@pytest.mark.parametrize(
    ("similarity", "classification", "target", "needed"),
    [(0, 0, 0, False), (1, 0, 0, True), (0, 1, 0, True), (0, 0, 1, True)],
)
def test_target_images_are_needed_if_any_of_their_losses_counts(
    similarity, classification, target, needed
):
    weights = Weights(
        triplet=1,
        domain_similarity=similarity,
        domain_classification=classification,
        target=target,
    )
    assert weights.need_target is needed
