"""A relay in front of a server, which counts what the server sends and can cut connections."""

import socket
import threading
from collections.abc import Sequence
from math import inf
from types import TracebackType
from typing import Self


class Relay:
    """Passes TCP connections on to a server, inside a `with` block.

    Attributes:
        endpoint: the relay's own `http://` address.
        num_bytes: sent by the server so far.
    """

    def __init__(self, endpoint: str, *, cut_after_bytes: Sequence[int] = ()) -> None:
        """
        Args:
            endpoint: `http://host:port` of the server.
            cut_after_bytes: the first connection is cut after so many bytes from the server, the
                second after the next number, and so on; later ones are not.
        """
        host, port = endpoint.removeprefix("http://").split(":")
        self._server = (host, int(port))
        self._limits = iter(cut_after_bytes)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self.num_bytes = 0
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            limit = next(self._limits, inf)
            threading.Thread(target=self._serve, args=(client, limit), daemon=True).start()

    def _serve(self, client: socket.socket, limit: float) -> None:
        with client, socket.create_connection(self._server) as server:
            upwards = threading.Thread(target=_copy, args=(client, server), daemon=True)
            upwards.start()
            try:
                while limit > 0 and (data := server.recv(int(min(limit, 65536)))):
                    limit -= len(data)
                    with self._lock:
                        self.num_bytes += len(data)
                    client.sendall(data)
            except OSError:
                return
            finally:
                for end in (client, server):
                    _hang_up(end)
                upwards.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        return
    finally:
        _hang_up(target)


def _hang_up(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
