"""The variants that `benchmarks/ablation.py` compares: a preset and changes to it."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A row of the table: a preset and changes to it."""

    name: str
    preset: str = "daam_v2"
    changes: dict[str, Any] = field(default_factory=dict)


NO_TARGET: dict[str, Any] = {"loss.target.kind": "none"}
ATTENTION = {
    **NO_TARGET,
    "loss.domain_similarity.kind": "none",
    "loss.domain_classification.weight": 0.0,
}
SIMILARITY, SIMILARITY_WEIGHT = "loss.domain_similarity.kind", "loss.domain_similarity.weight"
# g is the pooled embedding, b the bottleneck's.
SIMILARITY_ON_B = {"loss.domain_similarity.embedding": "bottleneck"}
SOURCE_TRIPLETS_ON_B = {"loss.triplet.embedding": "bottleneck"}
TRIPLETS_ON_G = {"loss.target.triplet_embedding": "pooled"}
TESTED_ON_G = {"evaluation.embedding": "pooled"}
TEACHER = {"teacher.momentum": 0.98}
ADAPTED = {"evaluation.reestimate_norm": True}
NOT_ADAPTED = {"evaluation.reestimate_norm": False}
SOURCE_ONLY, SOFT_LABEL, STRONG, CEILING = (
    "source only",
    "+ soft_label (daam_v2)",
    "strong",
    "the target's own labels (ceiling)",
)
VARIANTS = (
    Variant(name=SOURCE_ONLY, preset="source_only"),
    Variant(name="+ norm statistics of the target", preset="source_only", changes=ADAPTED),
    Variant(
        name="norm statistics, source triplets on b",
        preset="source_only",
        changes={**ADAPTED, **SOURCE_TRIPLETS_ON_B},
    ),
    Variant(name="+ attention", changes=ATTENTION),
    Variant(name="+ DSP classification", changes={**NO_TARGET, SIMILARITY: "none"}),
    Variant(name="+ nominal_moment", changes=NO_TARGET),
    Variant(
        name="+ nominal_moment, weight 100",
        changes={**NO_TARGET, SIMILARITY_WEIGHT: 100.0},
    ),
    Variant(
        name="+ DSP classification, the source's statistics",
        changes={**NO_TARGET, SIMILARITY: "none", **NOT_ADAPTED},
    ),
    Variant(
        name="+ nominal_moment, weight 100, the source's statistics",
        changes={**NO_TARGET, SIMILARITY_WEIGHT: 100.0, **NOT_ADAPTED},
    ),
    Variant(
        name="or nominal_classifier",
        changes={
            **NO_TARGET,
            SIMILARITY: "nominal_classifier",
            SIMILARITY_WEIGHT: 0.3,
        },
    ),
    Variant(name="or soft_svdd", changes={**NO_TARGET, SIMILARITY: "soft_svdd"}),
    Variant(
        name="or domain_confusion",
        changes={**NO_TARGET, SIMILARITY: "domain_confusion", SIMILARITY_WEIGHT: 0.3},
    ),
    Variant(
        name="or gradient_reversal",
        changes={
            **NO_TARGET,
            SIMILARITY: "gradient_reversal",
            SIMILARITY_WEIGHT: 0.3,
        },
    ),
    Variant(name="or nominal_moment on b", changes={**NO_TARGET, **SIMILARITY_ON_B}),
    Variant(
        name="or nominal_moment on b, weight .5",
        changes={**NO_TARGET, **SIMILARITY_ON_B, SIMILARITY_WEIGHT: 0.5},
    ),
    Variant(
        name="or nominal_moment on b, weight .5, the source's statistics",
        changes={**NO_TARGET, **SIMILARITY_ON_B, SIMILARITY_WEIGHT: 0.5, **NOT_ADAPTED},
    ),
    Variant(
        name="or gradient_reversal on b",
        changes={
            **NO_TARGET,
            **SIMILARITY_ON_B,
            SIMILARITY: "gradient_reversal",
            SIMILARITY_WEIGHT: 0.3,
        },
    ),
    Variant(name="+ exemplar (daam_v1)", preset="daam_v1"),
    Variant(
        name="or exemplar, 1 lone epoch",
        preset="daam_v1",
        changes={"loss.target.exemplar_lone_epochs": 1},
    ),
    Variant(
        name="or exemplar, no lone epoch",
        preset="daam_v1",
        changes={"loss.target.exemplar_lone_epochs": 0},
    ),
    Variant(name="or cluster_triplet", changes={"loss.target.kind": "cluster_triplet"}),
    Variant(
        name="or cluster_triplet on g",
        changes={"loss.target.kind": "cluster_triplet", **TRIPLETS_ON_G},
    ),
    Variant(
        name="or cluster_triplet on g, weight 30",
        changes={
            "loss.target.kind": "cluster_triplet",
            "loss.target.weight": 30.0,
            **TRIPLETS_ON_G,
        },
    ),
    Variant(name=SOFT_LABEL),
    Variant(
        name="soft_label alone, without attention and similarity",
        changes={
            "model.attention.kind": "none",
            SIMILARITY: "none",
            "loss.domain_classification.weight": 0.0,
        },
    ),
    Variant(name="daam_v2, nominal_moment on b", changes=SIMILARITY_ON_B),
    Variant(name="daam_v2, source triplets on b", changes=SOURCE_TRIPLETS_ON_B),
    Variant(name="daam_v2, tested on g", changes=TESTED_ON_G),
    Variant(name="daam_v2 + domain_specific norm", changes={"model.norm": "domain_specific"}),
    Variant(name="daam_v2 + gem", changes={"model.pooling": "gem"}),
    Variant(name="daam_v2 + triplets of groups", changes={"loss.target.triplet_weight": 1.0}),
    Variant(
        name="daam_v2 + triplets of groups on g",
        changes={"loss.target.triplet_weight": 1.0, **TRIPLETS_ON_G},
    ),
    Variant(
        name="daam_v2 + teacher",
        changes={"teacher.labels": True, "teacher.embeds": True, **TEACHER},
    ),
    Variant(name=STRONG, preset="strong", changes=TEACHER),
    Variant(
        name="strong, triplets of groups on g",
        preset="strong",
        changes={**TEACHER, **TRIPLETS_ON_G},
    ),
    Variant(
        name="strong, source triplets on b",
        preset="strong",
        changes={**TEACHER, **SOURCE_TRIPLETS_ON_B},
    ),
    Variant(
        name="strong, cluster_triplet",
        preset="strong",
        changes={
            **TEACHER,
            "loss.target.kind": "cluster_triplet",
            "loss.target.triplet_weight": 0.0,
        },
    ),
    Variant(name="strong, tested on g", preset="strong", changes={**TEACHER, **TESTED_ON_G}),
    Variant(name=CEILING, preset="supervised_target"),
    Variant(
        name="the ceiling, triplets on b",
        preset="supervised_target",
        changes=SOURCE_TRIPLETS_ON_B,
    ),
)
