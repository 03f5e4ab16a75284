"""Objects read in ranges, several at a time, each tried again from where it broke off."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import chain, repeat
from typing import Any

import botocore.exceptions as boto

from daam.errors import StorageError
from daam.storage.s3.connection import Connection
from daam.storage.s3.retry import BROKEN_OFF, Patience, waiting
from daam.storage.store import CHUNK_SIZE_BYTES

PART_SIZE_BYTES = 8 << 20
PARTS_AT_A_TIME = 6
PAST_THE_END = frozenset({"416", "InvalidRange"})


class ObjectReader:
    """Reads one object; all of its parts are of the version that was met first.

    Args:
        connection: to its server.
        bucket, key: of the object.
        place: its address, for messages.
    """

    def __init__(self, connection: Connection, *, bucket: str, key: str, place: str) -> None:
        self._connection = connection
        self._object = {"Bucket": bucket, "Key": key}
        self._place = place
        self._version: tuple[int, str | None] | None = None
        self._closed = False

    def chunks(self, *, patience: Patience | None = None) -> Iterator[bytes]:
        """The whole object in order; what is larger than a part is fetched several parts at once.

        At most `PARTS_AT_A_TIME + 1` parts are in memory.

        Args:
            patience: as for `range`.
        """
        done = yield from self._beginning(PART_SIZE_BYTES, patience=patience)
        if done < self._num_bytes:
            yield from self._in_parallel(done)

    def range(self, *, start: int, size: int, patience: Patience | None = None) -> bytes:
        """Exactly these bytes.

        Args:
            patience: if some of it was used up already.

        Raises:
            StorageError: the object has fewer, or the server has no ranged reads.
        """
        data = b"".join(self._stream(start, start + size, patience=patience))
        if len(data) < size:
            raise StorageError(
                f"{self._place} has {self._num_bytes} bytes and not {start + size}; it was cut or "
                "replaced: write it again"
            )
        return data

    def size(self) -> int:
        """Bytes of the object, by reading the first of them."""
        deque(self._beginning(1), maxlen=0)
        return self._num_bytes

    @property
    def _num_bytes(self) -> int:
        return 0 if self._version is None else self._version[0]

    def _beginning(
        self, size: int, *, patience: Patience | None = None
    ) -> Generator[bytes, None, int]:
        """The first bytes, or all if they come all; returns how many."""
        try:
            return (yield from self._stream(0, size, all_if_whole=True, patience=patience))
        except boto.ClientError as error:
            # An empty object has no first byte to ask for.
            if error.response["Error"].get("Code") in PAST_THE_END:
                return 0
            raise

    def _in_parallel(self, start: int) -> Iterator[bytes]:
        starts = range(start, self._num_bytes, PART_SIZE_BYTES)
        parts: deque[Future[bytes]] = deque()
        with ThreadPoolExecutor(PARTS_AT_A_TIME, thread_name_prefix="s3-part") as pool:
            try:
                for begin in chain(starts, repeat(None, PARTS_AT_A_TIME)):
                    if begin is not None:
                        end = min(begin + PART_SIZE_BYTES, self._num_bytes)
                        parts.append(pool.submit(self.range, start=begin, size=end - begin))
                    if parts and (begin is None or len(parts) == PARTS_AT_A_TIME):
                        yield parts.popleft().result()
            finally:
                self._closed = True
                pool.shutdown(wait=False, cancel_futures=True)

    def _stream(
        self,
        position: int,
        end: int,
        *,
        all_if_whole: bool = False,
        patience: Patience | None = None,
    ) -> Generator[bytes, None, int]:
        """Bytes from a position to an end or the object's; returns where it stopped.

        Args:
            all_if_whole: go on to the object's end where the server has no ranged reads.
        """
        patience = patience or Patience(
            deadline_s=self._connection.settings.deadline_s, abandoned=lambda: self._closed
        )
        while position < end:
            with waiting(patience):
                response = self._connection.client.get_object(
                    **self._object, Range=f"bytes={position}-{end - 1}"
                )
            with closing(response["Body"]) as body:
                begin, num_bytes = self._span(response)
                if begin > position or (begin < position and not all_if_whole):
                    raise StorageError(
                        f"cannot read {self._place} in parts: {self._connection.endpoint} sends "
                        "all of it when asked for some; use a server with ranged reads"
                    )
                whole = "ContentRange" not in response
                end = num_bytes if whole and all_if_whole else min(end, num_bytes)
                before = position
                try:
                    for chunk in body.iter_chunks(CHUNK_SIZE_BYTES):
                        new = chunk[max(0, position - begin) : end - begin]
                        begin += len(chunk)
                        if new:
                            # Bytes that came before are no progress: a server may never get on.
                            patience.progressed()
                            yield new
                            position += len(new)
                        if position == end:
                            break
                    if position == before < end:
                        raise boto.IncompleteReadError(
                            actual_bytes=0, expected_bytes=end - position
                        )
                except BROKEN_OFF:
                    wait_s = patience.wait_s()
                    if wait_s is None:
                        raise
                    time.sleep(wait_s)
        return position

    def _span(self, response: dict[str, Any]) -> tuple[int, int]:
        """Where an answer's bytes begin, and the size of the whole object."""
        if found := re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.get("ContentRange", "")):
            begin, num_bytes = int(found[1]), int(found[2])
        else:
            begin, num_bytes = 0, response.get("ContentLength")
            if num_bytes is None:
                raise StorageError(
                    f"cannot read {self._place}: {self._connection.endpoint} does not say how "
                    "large it is; check that it is an S3 server, with no proxy before it that "
                    "changes its answers"
                )
        version = (num_bytes, response.get("ETag"))
        if self._version is None:
            self._version = version
        elif self._version != version:
            raise StorageError(f"{self._place} was replaced while it was read; try again")
        return begin, num_bytes
