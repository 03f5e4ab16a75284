"""Reading HTTP/1.1 messages off a connection to pass them on: a head, then blocks of a body."""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader

BLOCK_SIZE_BYTES = 16 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The beginning of a request or an answer, and with it how its body is framed.

    Attributes:
        lines: as they came, the first one and the fields.
        fields: name -> value, both in small letters.
    """

    lines: tuple[bytes, ...]
    fields: dict[str, str]

    @property
    def is_chunked(self) -> bool:
        """Whether the body comes in chunks with their sizes in front."""
        return "chunked" in self.fields.get("transfer-encoding", "")

    @property
    def has_body(self) -> bool:
        """False for an answer that has none, though it may state a length."""
        return self.lines[0].split(b" ")[1] not in (b"204", b"304")

    @property
    def middle(self) -> int:
        """The position half-way through the body, 0 if its length is not known."""
        return int(self.fields.get("content-length", 0)) // 2

    @property
    def end(self) -> bytes:
        """What comes after the last block of the body."""
        return b"0\r\n\r\n" if self.is_chunked else b""

    def framed(self, block: bytes) -> bytes:
        """A block of the body as it is sent."""
        return b"%x\r\n%b\r\n" % (len(block), block) if self.is_chunked and block else block

    def as_bytes(self, *, without: str = "") -> bytes:
        """The head as it is sent, perhaps without one field."""
        kept = [
            line
            for line in self.lines
            if not without or not line.lower().startswith(f"{without}:".encode())
        ]
        return b"".join(kept) + b"\r\n"

    def body(self, stream: BufferedReader) -> Iterator[tuple[int, bytes]]:
        """Yield (position, block) as they come.

        Raises:
            ConnectionError: the body ends before its length.
        """
        position = 0
        for size in self._sizes(stream):
            end = position + size
            while position < end:
                block = stream.read1(min(end - position, BLOCK_SIZE_BYTES))
                if not block:
                    raise ConnectionAbortedError(f"the body ended after {position} bytes")
                yield position, block
                position += len(block)

    def _sizes(self, stream: BufferedReader) -> Iterator[int]:
        if not self.is_chunked:
            yield int(self.fields.get("content-length", 0))
            return
        while line := stream.readline():
            size = int(line.partition(b";")[0], 16)
            if size == 0:
                while stream.readline().strip():
                    pass
                return
            yield size
            stream.readline()
        raise ConnectionAbortedError("the body ended between two chunks")


def read_head(stream: BufferedReader) -> Head | None:
    """Read the next head; None if the connection ended instead."""
    lines: list[bytes] = []
    while (line := stream.readline()).strip():
        lines.append(line)
    if not line:
        return None
    pairs = (field.decode("latin-1").partition(":") for field in lines[1:])
    fields = {name.lower(): value.strip().lower() for name, _, value in pairs}
    return Head(lines=tuple(lines), fields=fields)
