"""A Ray cluster of two CPUs on this machine, until standard input closes; prints its address."""

import sys

from daam.execution.environment import prepare_environment

if __name__ == "__main__":
    prepare_environment(address=None)  # before Ray is imported, so that it listens on loopback
    import ray

    from daam.execution.connection import connected

    with connected(num_cpus=2):
        print(ray.get_runtime_context().gcs_address, flush=True)
        sys.stdin.read()
