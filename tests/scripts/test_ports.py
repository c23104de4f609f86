"""Ports that are handed out are free and distinct."""

import importlib
import socket
from pathlib import Path

import pytest


def test_ports_are_distinct_and_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / "scripts")
    ports = importlib.import_module("ports").free_ports(5)
    assert len(set(ports)) == 5
    for port in ports:
        socket.create_server(("127.0.0.1", port)).close()
