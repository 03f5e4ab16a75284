"""A store that turns away a share of all requests: 503 Slow Down, at a port of its own.

    python tests/cluster/hosts/busy_store.py ENDPOINT HOST PORT SHARE

It stands in front of the store at the endpoint until its standard input closes.
"""

import sys

from tests.support.fault_proxy import Fault, FaultProxy, Rule


def main(endpoint: str, host: str, port: str, share: str) -> None:
    """Turn requests away."""
    rule = Rule(fault=Fault.BUSY, share=float(share))
    with FaultProxy(endpoint, rule=rule, address=(host, int(port))) as proxy:
        print(proxy.endpoint, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
