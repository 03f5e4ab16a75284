"""The balanced mean against a loop over domains."""

import statistics

import pytest
import torch

from daam.losses.balance import mean_over_domains


@pytest.mark.parametrize("domains", [[0, 1], [0, 0, 0, 1], [1, 0, 1, 1, 1], [0, 0], [1], []])
def test_matches_the_loop(domains):
    values = [1.5, -2.0, 4.0, 0.25, 8.0][: len(domains)]
    means = []
    for domain in (0, 1):
        own = [value for value, d in zip(values, domains, strict=True) if d == domain]
        if own:
            means.append(statistics.fmean(own))
    expected = statistics.fmean(means) if means else 0.0
    found = mean_over_domains(torch.tensor(values), torch.tensor(domains, dtype=torch.int64))
    assert found.item() == pytest.approx(expected)


def test_a_value_that_is_not_a_number_is_not_hidden():
    assert mean_over_domains(torch.tensor([1.0, torch.nan]), torch.tensor([0, 1])).isnan()
