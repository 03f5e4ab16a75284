"""A one-node OpenStack Swift with its S3 interface, all of its four servers in this process.

    python tests/support/swift_node.py FOLDER < {"access_key": "account:user", "secret_key": "...",
                                         "page_size": 1000}

FOLDER holds all data and settings, access.log with a line of `method path status bytes_sent` per
request, and server.log. Prints its address once it answers, and ends when its
standard input does, so that it cannot outlive its parent.
"""

import json
import logging
import sys
from logging.handlers import SysLogHandler
from pathlib import Path

import eventlet
from eventlet import wsgi
from eventlet.hubs import trampoline, use_hub
from swift.common.http_protocol import SwiftHttpProtocol
from swift.common.ring import RingBuilder
from swift.common.utils import get_hub, monkey_patch, set_swift_dir
from swift.common.wsgi import loadapp

HOST = "127.0.0.1"
STORAGE_SERVERS = ("account", "container", "object")
# A power of two: few parts, as each gets folders of its own.
PART_POWER = 3

SWIFT_CONF = """
[swift-hash]
swift_hash_path_suffix = tests
[storage-policy:0]
name = only
default = yes
"""
SERVER_CONF = """
[DEFAULT]
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
fallocate_reserve = 0
recon_cache_path = {folder}
log_level = WARNING
[pipeline:main]
pipeline = {pipeline}
"""
STORAGE_CONF = """
[app:{name}-server]
use = egg:swift#{name}
"""
PROXY_PIPELINE = (
    "catch_errors gatekeeper proxy-logging listing_formats bulk s3api tempauth copy slo dlo "
    "versioned_writes symlink proxy-server"
)
PROXY_CONF = """
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:proxy-logging]
use = egg:swift#proxy_logging
access_log_level = INFO
log_msg_template = {{method}} {{path}} {{status_int}} {{bytes_sent}}
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
max_bucket_listing = {page_size}
[filter:tempauth]
use = egg:swift#tempauth
user_{user} = {secret_key} .admin
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
"""
PLAIN_FILTERS = (
    "catch_errors",
    "gatekeeper",
    "listing_formats",
    "bulk",
    "copy",
    "slo",
    "dlo",
    "symlink",
)


def serve(folder: Path, *, access_key: str, secret_key: str, page_size: int) -> str:
    """Start the servers in green threads and return the address of the S3 interface."""
    (folder / "devices" / "disk").mkdir(parents=True)
    (folder / "swift.conf").write_text(SWIFT_CONF)
    set_swift_dir(str(folder))
    for name in STORAGE_SERVERS:
        socket = eventlet.listen((HOST, 0))
        _write_ring(folder, name=name, port=socket.getsockname()[1])
        own = STORAGE_CONF.format(name=name)
        _start(folder, name=name, socket=socket, pipeline=f"{name}-server", own=own)
    socket = eventlet.listen((HOST, 0))
    own = PROXY_CONF.format(
        page_size=page_size, user=access_key.replace(":", "_"), secret_key=secret_key
    ) + "".join(f"[filter:{name}]\nuse = egg:swift#{name}\n" for name in PLAIN_FILTERS)
    _start(folder, name="proxy", socket=socket, pipeline=PROXY_PIPELINE, own=own)
    _log_to_files(folder)
    return f"http://{HOST}:{socket.getsockname()[1]}"


def _write_ring(folder: Path, *, name: str, port: int) -> None:
    builder = RingBuilder(PART_POWER, 1, 1)
    place = {"region": 1, "zone": 1, "device": "disk", "weight": 1}
    node = {"ip": HOST, "port": port, "replication_ip": HOST, "replication_port": port}
    builder.add_dev({**place, **node})
    builder.rebalance()
    builder.get_ring().save(str(folder / f"{name}.ring.gz"))


def _start(folder: Path, *, name: str, socket: object, pipeline: str, own: str) -> None:
    path = folder / f"{name}-server.conf"
    path.write_text(SERVER_CONF.format(folder=folder, pipeline=pipeline) + own)
    eventlet.spawn(
        wsgi.server,
        socket,
        loadapp(str(path)),
        logging.getLogger("wsgi"),
        protocol=SwiftHttpProtocol,
        # S3 clients look for `ETag`, which eventlet would write `Etag`.
        capitalize_response_headers=False,
    )


def _log_to_files(folder: Path) -> None:
    """Move Swift's lines from the machine's own log to files of this node."""
    for name in list(logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        for handler in [each for each in logger.handlers if isinstance(each, SysLogHandler)]:
            logger.removeHandler(handler)
            file_name = "access.log" if name == "proxy-access" else "server.log"
            logger.addHandler(logging.FileHandler(folder / file_name))


def main() -> None:
    """Serve until standard input ends."""
    folder = Path(sys.argv[1])
    monkey_patch()
    use_hub(get_hub())
    endpoint = serve(folder, **json.loads(sys.stdin.readline()))
    print(endpoint, flush=True)
    trampoline(sys.stdin.fileno(), read=True)


if __name__ == "__main__":
    main()
