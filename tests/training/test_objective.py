"""The objective against loops: its terms, their weighted sum, and what it remembers."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from daam.losses.domain_similarity import (
    domain_confusion_loss,
    gradient_reversal_loss,
    nominal_classifier_loss,
)
from daam.losses.target import exemplar_loss, group_triplet_loss
from daam.model.network import ModelOutput
from daam.pseudo_labels.exemplars import update_exemplars
from daam.training.objective import (
    BatchExemplars,
    BatchGroups,
    LossReport,
    Memory,
    Objective,
    Weights,
)

NUM_SOURCE, NUM_TARGET, NUM_CHANNELS, NUM_IDENTITIES, NUM_GROUPS = 6, 4, 5, 3, 2
IDENTITIES = torch.tensor([0, 0, 1, 1, 2, 2])
GROUPS = torch.tensor([1, 0, -1, 1])
OBJECTIVE = Objective(
    label_smoothing=0.1,
    triplet_margin=0.3,
    triplet_embedding="pooled",
    similarity_kind="nominal_moment",
    similarity_embedding="pooled",
    similarity_quantile=0.9,
    nominal_spread_weight=0.7,
    nominal_momentum=0.9,
    target_kind="soft_label",
    target_temperature=0.2,
    soft_target_temperature=0.5,
    target_softness=0.3,
    target_triplet_margin=0.2,
    target_triplet_embedding="pooled",
    centre_momentum=0.2,
)
ALL = Weights(
    triplet=0.5, domain_similarity=3.0, domain_classification=0.25, target=2.0, target_triplet=0.0
)
NO_ATTENTION = Weights(
    triplet=0.5, domain_similarity=3.0, domain_classification=0.0, target=2.0, target_triplet=0.0
)


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
    given = {"identities_S": IDENTITIES, "labels": make_groups(), "memory": make_memory()}
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
    nothing = Weights(
        triplet=0, domain_similarity=0, domain_classification=0, target=0, target_triplet=0
    )
    output, memory = make_output(), Memory()
    report = loss_of(output, nothing, labels=None, memory=memory)
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
    warm_up = Weights(
        triplet=1, domain_similarity=0, domain_classification=0, target=0, target_triplet=0
    )
    report = loss_of(make_output(num_target=0), warm_up, labels=None, memory=Memory())
    assert set(report.terms) == {"identity", "triplet", "domain_classification"}
    assert report.total.isfinite()


def test_a_network_without_attention_has_no_domain_classification():
    report = loss_of(make_output(with_attention=False), NO_ATTENTION)
    assert set(report.terms) == {"identity", "triplet", "domain_similarity", "target"}


def test_the_nominal_domain_begins_between_the_domains_and_follows_as_an_average():
    first, second, memory = make_output(), make_output(seed=20), Memory()
    loss_of(first, labels=None, memory=memory)
    centre, spread = middle(first)
    assert memory.nominal_centre is not None
    assert memory.nominal_spread is not None
    assert memory.nominal_centre.tolist() == pytest.approx(centre, abs=1e-6)
    assert memory.nominal_spread.tolist() == pytest.approx(spread, abs=1e-6)

    loss_of(second, labels=None, memory=memory)
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
        target_triplet=0,
    )
    assert weights.need_target is needed


def form(kind: str, **changes) -> Objective:
    return dataclasses.replace(OBJECTIVE, similarity_kind=kind, **changes)


def with_logits(output: ModelOutput, *logits: Tensor | None) -> ModelOutput:
    first, second = logits
    assert first is not None
    return dataclasses.replace(output, similarity_logits=(first, second))


@pytest.mark.parametrize(
    ("kind", "width", "loss"),
    [
        ("nominal_classifier", 3, nominal_classifier_loss),
        ("domain_confusion", 2, domain_confusion_loss),
        ("gradient_reversal", 2, gradient_reversal_loss),
    ],
)
def test_a_form_with_a_head_is_the_loss_of_its_logits(kind, width, loss):
    count = NUM_SOURCE + NUM_TARGET
    logits: list[Tensor | None] = [random(count, width, seed=30), random(count, width, seed=31)]
    if kind == "gradient_reversal":
        logits[1] = None
    output, memory = with_logits(make_output(), *logits), make_memory()
    report = form(kind)(
        output, weights=ALL, identities_S=IDENTITIES, labels=make_groups(), memory=memory
    )
    domains = torch.tensor([0] * NUM_SOURCE + [1] * NUM_TARGET)
    expected = loss(*(part for part in logits if part is not None), domains)
    torch.testing.assert_close(report.terms["domain_similarity"], expected)
    assert memory.nominal_centre is None


def test_a_head_gets_a_gradient_of_zero_at_weight_zero():
    logits = random(NUM_SOURCE, 2, seed=30).requires_grad_()
    output = with_logits(make_output(num_target=0), logits, None)
    warm_up = dataclasses.replace(ALL, domain_similarity=0, target=0)
    report = form("gradient_reversal")(
        output, weights=warm_up, identities_S=IDENTITIES, labels=None, memory=Memory()
    )
    report.total.backward()
    assert logits.grad is not None
    assert logits.grad.eq(0).all()


def test_soft_svdd_moves_its_centre_with_the_source_alone():
    memory = make_memory()
    outputs = make_output(), make_output(seed=20)
    for output in outputs:
        form("soft_svdd")(
            output, weights=ALL, identities_S=IDENTITIES, labels=make_groups(), memory=memory
        )
    means = [
        [sum(column) / NUM_SOURCE for column in zip(*unit(o.shared_BC)[:NUM_SOURCE], strict=True)]
        for o in outputs
    ]
    assert memory.source_centre is not None
    assert memory.source_centre.tolist() == pytest.approx(
        [0.9 * old + 0.1 * new for old, new in zip(*means, strict=True)], abs=1e-6
    )


def test_exemplars_are_compared_first_and_moved_then():
    exemplars = F.normalize(random(7, NUM_CHANNELS, seed=40), dim=1)
    rows, output = torch.tensor([5, 0, 2, 6]), make_output()
    memory = Memory(exemplars_NC=exemplars)
    labels = BatchExemplars(rows_T=rows, num_neighbours=2, keep=0.25)
    report = form("nominal_moment", target_kind="exemplar")(
        output, weights=ALL, identities_S=IDENTITIES, labels=labels, memory=memory
    )
    embeddings = F.normalize(output.bottleneck_BC[NUM_SOURCE:], dim=1)
    torch.testing.assert_close(
        report.terms["target"],
        exemplar_loss(embeddings, rows, exemplars, temperature=0.2, num_neighbours=2),
    )
    assert memory.exemplars_NC is not None
    torch.testing.assert_close(
        memory.exemplars_NC, update_exemplars(exemplars, embeddings.detach(), rows, keep=0.25)
    )
    assert not memory.exemplars_NC.requires_grad


def test_triplets_of_groups_are_a_form_of_their_own_or_stand_beside_soft_labels():
    output = make_output()
    expected = group_triplet_loss(
        F.normalize(output.shared_BC, dim=1)[NUM_SOURCE:], GROUPS, margin=0.2
    )
    alone = form("nominal_moment", target_kind="cluster_triplet")(
        output, weights=ALL, identities_S=IDENTITIES, labels=make_groups(), memory=make_memory()
    )
    torch.testing.assert_close(alone.terms["target"], expected)
    beside = loss_of(output, dataclasses.replace(ALL, target_triplet=1.5))
    torch.testing.assert_close(beside.terms["target_triplet"], expected)
    torch.testing.assert_close(beside.total, loss_of(output).total + 1.5 * expected)


@pytest.mark.parametrize(
    ("setting", "term", "changes"),
    [
        ("triplet_embedding", "triplet", {}),
        ("similarity_embedding", "domain_similarity", {}),
        ("similarity_embedding", "domain_similarity", {"similarity_kind": "soft_svdd"}),
        ("target_triplet_embedding", "target_triplet", {}),
        ("target_triplet_embedding", "target", {"target_kind": "cluster_triplet"}),
    ],
)
def test_a_term_compares_the_embedding_it_is_told_to_and_no_other(setting, term, changes):
    output = make_output()
    weights = dataclasses.replace(ALL, target_triplet=1.5 if term == "target_triplet" else 0.0)
    swapped = dataclasses.replace(
        output, shared_BC=output.bottleneck_BC, bottleneck_BC=output.shared_BC
    )
    given = {"weights": weights, "identities_S": IDENTITIES, "labels": make_groups()}
    plain = dataclasses.replace(OBJECTIVE, **changes)
    changed = dataclasses.replace(plain, **{setting: "bottleneck"})
    found = changed(output, memory=make_memory(), **given).terms
    torch.testing.assert_close(
        found[term], plain(swapped, memory=make_memory(), **given).terms[term]
    )
    others = plain(output, memory=make_memory(), **given).terms
    assert found[term] != others[term]
    assert all(found[name].equal(others[name]) for name in found.keys() - {term})
