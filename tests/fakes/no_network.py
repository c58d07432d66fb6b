"""A machine that reaches nobody, and remembers who was asked for."""

import socket
from typing import Any

import pytest


def cut_network(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Refuse every connection and every look-up of a name, and return the list that they are written into."""
    asked: list[Any] = []

    def refuse(*arguments: Any, **_: Any) -> None:
        asked.append(arguments[-1])
        raise OSError("no network here")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return asked
