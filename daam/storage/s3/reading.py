"""Objects read in ranges, several in parallel, each resumed from where it broke off."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import chain, repeat

import botocore.exceptions as boto

from daam.errors import StorageError
from daam.storage.s3.connection import Connection
from daam.storage.s3.retry import BROKEN_OFF, BUSY_STATUSES, RetryBudget, retry_after_s
from daam.storage.store import CHUNK_SIZE_BYTES

PART_SIZE_BYTES = 8 << 20
MAX_PARALLEL_PARTS = 6
PAST_THE_END = frozenset({"416", "InvalidRange"})


class ObjectReader:
    """Reads one object; all parts must be of the version that came first.

    Args:
        connection: to its server.
        place: the object's, as the parameters Bucket and Key.
        uri: its address, for messages.
    """

    def __init__(self, connection: Connection, place: dict[str, str], *, uri: str) -> None:
        self._connection = connection
        self._place = place
        self._uri = uri
        self._version: tuple[int, str | None] | None = None
        self._is_closed = False

    def chunks(self) -> Iterator[bytes]:
        """The whole object in order; beyond one part, several are fetched in parallel.

        At most `MAX_PARALLEL_PARTS + 1` parts are in memory.
        """
        done = yield from self._stream(0, PART_SIZE_BYTES, accept_whole=True)
        if done < self._num_bytes:
            yield from self._in_parallel(done)

    def range(self, *, start: int, size: int) -> bytes:
        """Exactly these bytes.

        Raises:
            StorageError: the object has fewer, or the server has no ranged reads.
        """
        data = b"".join(self._stream(start, start + size))
        if len(data) < size:
            raise StorageError(
                f"{self._uri} has {self._num_bytes} bytes and not {start + size}; it was "
                "truncated or replaced: write it again"
            )
        return data

    def size(self) -> int:
        """Number of bytes of the object, from the response to a read of its first byte."""
        deque(self._stream(0, 1), maxlen=0)
        return self._num_bytes

    @property
    def _num_bytes(self) -> int:
        return 0 if self._version is None else self._version[0]

    def _in_parallel(self, start: int) -> Iterator[bytes]:
        starts = range(start, self._num_bytes, PART_SIZE_BYTES)
        parts: deque[Future[bytes]] = deque()
        with ThreadPoolExecutor(MAX_PARALLEL_PARTS, thread_name_prefix="s3-part") as pool:
            try:
                for begin in chain(starts, repeat(None, MAX_PARALLEL_PARTS)):
                    if begin is not None:
                        end = min(begin + PART_SIZE_BYTES, self._num_bytes)
                        parts.append(pool.submit(self.range, start=begin, size=end - begin))
                    if parts and (begin is None or len(parts) == MAX_PARALLEL_PARTS):
                        yield parts.popleft().result()
            finally:
                self._is_closed = True
                pool.shutdown(wait=False, cancel_futures=True)

    def _stream(
        self, position: int, end: int, *, accept_whole: bool = False
    ) -> Generator[bytes, None, int]:
        """Bytes from a position up to `end` or the object's end; returns where it stopped.

        Args:
            accept_whole: read to the object's end if the server ignores the range.
        """
        budget = RetryBudget(
            deadline_s=self._connection.settings.deadline_s, is_cancelled=lambda: self._is_closed
        )
        while position < end:
            try:
                with self._response(f"bytes={position}-{end - 1}", budget) as (headers, chunks):
                    begin, num_bytes = self._span(headers)
                    if begin > position or (begin < position and not accept_whole):
                        raise StorageError(
                            f"cannot read {self._uri} in parts: {self._connection.endpoint} sends "
                            "all of it instead of a range; use a server with ranged reads"
                        )
                    is_whole = "content-range" not in headers
                    end = num_bytes if is_whole and accept_whole else min(end, num_bytes)
                    before = position
                    for chunk in chunks:
                        new = chunk[max(0, position - begin) : end - begin]
                        begin += len(chunk)
                        if new:
                            # Bytes read before are no progress: they may be all that ever comes.
                            budget.progressed()
                            yield new
                            position += len(new)
                        if position == end:
                            break
                    if position == before < end:
                        raise boto.IncompleteReadError(
                            actual_bytes=0, expected_bytes=end - position
                        )
            except BROKEN_OFF:
                delay_s = budget.delay_s()
                if delay_s is None:
                    raise
                time.sleep(delay_s)
            except boto.ClientError as error:
                # An empty object has no first byte to ask for.
                if position or error.response["Error"].get("Code") not in PAST_THE_END:
                    raise
                break
        return position

    @contextmanager
    def _response(
        self, byte_range: str, budget: RetryBudget
    ) -> Iterator[tuple[Mapping[str, str], Iterator[bytes]]]:
        """The headers, by lower-case name, and the body; by presigned URL if that works at once."""
        direct = self._connection.get_presigned(self._place, byte_range=byte_range)
        if direct is not None and direct.status in (200, 206):
            with closing(direct):
                yield direct.headers, direct.stream(CHUNK_SIZE_BYTES, decode_content=False)
            return
        if direct is not None:
            direct.drain_conn()
            if direct.status in BUSY_STATUSES:
                asked_s = retry_after_s(direct.headers.get("retry-after"))
                time.sleep(budget.delay_s(retry_after_s=asked_s) or 0)
        parameters = {**self._place, "Range": byte_range}
        response = self._connection.call("get_object", parameters, budget=budget)
        with closing(response["Body"]) as body:
            yield response["ResponseMetadata"]["HTTPHeaders"], body.iter_chunks(CHUNK_SIZE_BYTES)

    def _span(self, headers: Mapping[str, str]) -> tuple[int, int]:
        """Where a response's bytes begin, and the size of the whole object."""
        length = headers.get("content-length", "")
        # Some servers answer 200 instead of 206, so the range comes from the headers.
        if found := re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("content-range", "")):
            begin, num_bytes = int(found[1]), int(found[2])
        elif length.isdigit():
            begin, num_bytes = 0, int(length)
        else:
            raise StorageError(
                f"cannot read {self._uri}: {self._connection.endpoint} does not send its "
                "size; check that it is an S3 server, with no proxy before it that changes its "
                "answers"
            )
        version = (num_bytes, headers.get("etag"))
        if self._version is None:
            self._version = version
        elif self._version != version:
            raise StorageError(f"{self._uri} was replaced while it was read; try again")
        return begin, num_bytes
