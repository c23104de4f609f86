"""Ports of this machine that a server may take. Needs only Python, knows no server."""

import socket


def free_ports(count: int) -> list[int]:
    """Distinct ports of 127.0.0.1 that nobody listens on now."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return found
