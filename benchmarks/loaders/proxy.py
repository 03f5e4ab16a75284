"""A proxy that makes a server as far away as a real store, and counts what passes."""

import asyncio
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

WHOLE, PART, HEAD_BYTES = b"HTTP/1.1 200 OK", b"HTTP/1.1 206 Partial Content", 2048
METHODS = (b"GET ", b"HEAD ", b"PUT ", b"POST ", b"DELETE ")


class SlowProxy:
    """Passes connections on to a server, inside a `with` block.

    A new connection and each request wait `latency_s` on their way. An answer with a part of a
    file gets the status 206, which rclone forgets and some clients insist on.

    Attributes:
        endpoint: its own address.
        num_requests: HTTP requests so far.
        num_bytes: sent by the server so far.
    """

    def __init__(self, endpoint: str, *, latency_s: float) -> None:
        server = urlsplit(endpoint)
        self._server = (server.hostname, server.port)
        self._latency_s = latency_s
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.endpoint = ""
        self.num_requests = 0
        self.num_bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        starting = asyncio.start_server(self._serve, "127.0.0.1", 0)
        listener = asyncio.run_coroutine_threadsafe(starting, self._loop).result()
        self.endpoint = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self._latency_s)
        server_reader, server_writer = await asyncio.open_connection(*self._server)
        await asyncio.gather(
            self._copy(reader, server_writer, upwards=True),
            self._copy(server_reader, writer, upwards=False),
        )

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, upwards: bool
    ) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(1 << 18):
                if upwards:
                    self.num_requests += data.startswith(METHODS)
                    await asyncio.sleep(self._latency_s)
                else:
                    self.num_bytes += len(data)
                    if data.startswith(WHOLE) and b"\r\nContent-Range:" in data[:HEAD_BYTES]:
                        data = data.replace(WHOLE, PART, 1)
                writer.write(data)
                await writer.drain()
        writer.close()
