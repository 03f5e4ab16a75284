from daam.storage.s3.retry import FIRST_WAIT_S, LONGEST_WAIT_S, Patience


def waits(*, num_failures: int, asked_s: float = 0.0) -> list[float]:
    """What many clients wait after so many failures each."""
    found = []
    for _ in range(300):
        patience = Patience(deadline_s=1000)
        waited = [patience.wait_s(asked_s=asked_s) for _ in range(num_failures)]
        assert waited[-1] is not None
        found.append(waited[-1])
    return found


def test_clients_that_failed_together_do_not_come_back_together():
    for num_failures in (1, 2, 3):
        bound_s = FIRST_WAIT_S * 2**num_failures
        found = sorted(waits(num_failures=num_failures))
        assert len(set(found)) > 290
        assert 0 <= found[0] < 0.1 * bound_s
        assert 0.4 * bound_s < found[150] < 0.6 * bound_s
        assert 0.9 * bound_s < found[-1] <= bound_s


def test_waits_grow_to_a_longest():
    found = waits(num_failures=20)
    assert 0.9 * LONGEST_WAIT_S < max(found) <= LONGEST_WAIT_S


def test_nobody_comes_back_before_the_server_asked_for():
    assert min(waits(num_failures=1, asked_s=7)) == 7


def test_patience_ends_so_that_the_next_try_is_over_before_the_deadline():
    assert Patience(deadline_s=10).wait_s(asked_s=11) is None
    assert Patience(deadline_s=10, abandoned=lambda: True).wait_s() is None
    patience = Patience(deadline_s=1000)
    assert patience.wait_s(num_tries=2) is not None
    assert patience.wait_s(num_tries=2) is None
    patience.progressed()
    assert patience.wait_s(num_tries=2) is not None
