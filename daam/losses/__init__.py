"""The losses, one pure function each.

Source: `identity`, `triplet`. Both domains: `domain_similarity`, `domain_classification`. Target:
`target`. `balance`: means that weigh both domains equally. `precision`: losses run in float32.
"""
