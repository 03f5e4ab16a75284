import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from daam.storage.s3.retry import (
    FIRST_DELAY_S,
    MAX_ATTEMPTS_UNANSWERED,
    MAX_DELAY_S,
    RetryBudget,
)


def delays_s(*, num_failures: int, retry_after_s: float = 0.0) -> list[float]:
    """The delays of many clients after so many failures each."""
    found = []
    for _ in range(300):
        budget = RetryBudget(deadline_s=1000)
        delays = [budget.delay_s(retry_after_s=retry_after_s) for _ in range(num_failures)]
        assert delays[-1] is not None
        found.append(delays[-1])
    return found


def test_clients_that_failed_together_do_not_return_together():
    for num_failures in (1, 2, 3):
        bound_s = FIRST_DELAY_S * 2**num_failures
        found = sorted(delays_s(num_failures=num_failures))
        assert len(set(found)) > 290
        assert 0 <= found[0] < 0.1 * bound_s
        assert 0.4 * bound_s < found[150] < 0.6 * bound_s
        assert 0.9 * bound_s < found[-1] <= bound_s


def test_delays_grow_to_a_maximum():
    found = delays_s(num_failures=20)
    assert 0.9 * MAX_DELAY_S < max(found) <= MAX_DELAY_S


def test_no_client_returns_before_the_server_asked_for():
    assert min(delays_s(num_failures=1, retry_after_s=7)) == 7


def test_a_budget_ends_so_that_the_next_attempt_is_over_before_the_deadline():
    assert RetryBudget(deadline_s=10).delay_s(retry_after_s=11) is None
    assert RetryBudget(deadline_s=10, is_cancelled=lambda: True).delay_s() is None
    budget = RetryBudget(deadline_s=1000)
    assert budget.delay_s(max_attempts=2) is not None
    assert budget.delay_s(max_attempts=2) is None
    budget.progressed()
    assert budget.delay_s(max_attempts=2) is not None


def refused(status: int, code: str, **headers: str) -> ClientError:
    answer = {"HTTPStatusCode": status, "HTTPHeaders": headers}
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": answer}, "GetObject")


@pytest.mark.parametrize(
    ("error", "is_retried"),
    [
        (refused(503, "SlowDown"), True),
        (refused(500, "Unheard"), True),
        (refused(400, "RequestTimeout"), True),
        (refused(400, "BadDigest"), True),
        (refused(404, "NoSuchKey"), False),
        (refused(403, "AccessDenied"), False),
        (ReadTimeoutError(endpoint_url="https://host"), True),
        (ValueError("no"), False),
    ],
)
def test_only_errors_that_may_pass_are_retried(error: Exception, is_retried: bool) -> None:
    delay_s = RetryBudget(deadline_s=1000).delay_after_s(error, has_answered=True)
    assert (delay_s is not None) == is_retried


def test_the_servers_own_delay_is_honoured():
    busy = refused(503, "SlowDown", **{"retry-after": "7"})
    assert RetryBudget(deadline_s=1000).delay_after_s(busy, has_answered=True) == 7


@pytest.mark.parametrize(("has_answered", "max_attempts"), [(False, True), (True, False)])
def test_only_a_server_that_never_answered_gets_few_attempts(
    has_answered: bool, max_attempts: bool
) -> None:
    budget = RetryBudget(deadline_s=1000)
    error = EndpointConnectionError(endpoint_url="https://host")
    delays = [
        budget.delay_after_s(error, has_answered=has_answered)
        for _ in range(MAX_ATTEMPTS_UNANSWERED)
    ]
    assert (delays[-1] is None) == max_attempts
    assert None not in delays[:-1]
