"""Headless Chromium, driven over a pipe by its DevTools protocol."""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

DROP = """
(async () => {{
  const bytes = Uint8Array.from(atob({content!r}), (letter) => letter.charCodeAt(0));
  const files = new DataTransfer();
  files.items.add(new File([bytes], {name!r}));
  document.dispatchEvent(new DragEvent("drop", {{ dataTransfer: files, cancelable: true }}));
}})()
"""
UNTIL = """
new Promise((resolve, reject) => {{
  const stop = Date.now() + 20000;
  const look = () => {{
    if ({condition}) resolve(true);
    else if (Date.now() > stop) reject(new Error("not in 20 s: " + document.body.innerText));
    else setTimeout(look, 20);
  }};
  look();
}})
"""


class Chromium:
    """A browser with one page; the test is skipped where Chromium is not installed."""

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: for its profile.
        """
        program = shutil.which("chromium") or shutil.which("google-chrome")
        if program is None:
            pytest.skip("no chromium to open the page with; install Debian's package chromium")
        from_us, to_us = os.pipe(), os.pipe()
        command = [program, "--headless", "--no-sandbox", "--disable-gpu"]
        command += [f"--user-data-dir={folder}", "--remote-debugging-pipe"]
        self._process = subprocess.Popen(  # it reads from 3 and writes to 4
            ["bash", "-c", f'exec 3<&{from_us[0]} 4>&{to_us[1]}; exec "$@"', "bash", *command],
            pass_fds=(from_us[0], to_us[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(from_us[0])
        os.close(to_us[1])
        self._out, self._in = os.fdopen(from_us[1], "wb"), os.fdopen(to_us[0], "rb")
        self._number = 0
        self._session: str | None = None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]

    def open(self, address: str) -> None:
        """Open a page and wait until it has loaded."""
        self._call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script: str) -> Any:
        """The value of an expression on the page, awaited."""
        answer = self._call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until an expression is true on the page."""
        self.run(UNTIL.format(condition=condition))

    def drop(self, content_base64: str, *, name: str) -> None:
        """Drop a file on the page."""
        self.run(DROP.format(content=content_base64, name=name))

    def resize(self, *, width: int, height: int) -> None:
        """Give the window a size in pixels."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def picture(self) -> bytes:
        """What the window shows, as a PNG."""
        return base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])

    def prefer_dark(self) -> None:
        """Have the browser of a user who prefers dark pages."""
        features = [{"name": "prefers-color-scheme", "value": "dark"}]
        self._call("Emulation.setEmulatedMedia", features=features)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._out.close()
        self._in.close()

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        self._out.flush()
        while True:
            answer = json.loads(self._message())
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _message(self) -> bytes:
        received = bytearray()
        while (byte := self._in.read(1)) != b"\0":
            assert byte, "Chromium has ended"
            received += byte
        return bytes(received)
