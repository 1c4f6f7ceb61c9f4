"""Sockets of the service: the API on loopback only, probes on all interfaces (spec DEPLOY 4).

A port that somebody else holds is fatal at once, also on ``::1`` alone: Argo's agent says ``localhost``,
and whoever answers there would be handed the agent's token (spec DEPLOY 12, M9).
"""

import errno
import socket
from typing import Final

_BACKLOG: Final = 128
_NO_SUCH_ADDRESS: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT})
_TRIES_FOR_A_FREE_PORT: Final = 20


class PortBusyError(Exception):
    """The address cannot be bound; the text names it."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any free one. Raises :class:`PortBusyError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise PortBusyError(f"cannot listen on {host}: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # "::" serves IPv4 as well; an address serves itself only.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
        listener.bind((host, port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise PortBusyError(f"cannot listen on {host} port {port}: {error.strerror}") from error
    return listener


def listen_on_loopback(port: int) -> list[socket.socket]:
    """Sockets on 127.0.0.1 and, where the machine has it, ::1, with the same port."""
    tries = 1 if port else _TRIES_FOR_A_FREE_PORT
    for attempt in range(tries):
        first = listen("127.0.0.1", port)
        try:
            return [first, listen("::1", port_of(first))]
        except PortBusyError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in _NO_SUCH_ADDRESS:
                return [first]
            first.close()
            if attempt == tries - 1:
                raise
    raise AssertionError("unreachable")


def listen_on_all_interfaces(port: int) -> socket.socket:
    """A socket on all interfaces, for IPv4 and, where the machine has it, IPv6."""
    try:
        return listen("::", port)
    except PortBusyError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _NO_SUCH_ADDRESS:
            return listen("0.0.0.0", port)  # noqa: S104 (kubelet probes come to the pod's address)
        raise


def port_of(listener: socket.socket) -> int:
    """The port that a socket got."""
    port: int = listener.getsockname()[1]
    return port


def url_of(listener: socket.socket) -> str:
    """The address under which this machine reaches the socket."""
    host: str = listener.getsockname()[0]
    host = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}.get(host, host)  # noqa: S104 (names what was bound)
    return f"http://[{host}]:{port_of(listener)}" if ":" in host else f"http://{host}:{port_of(listener)}"
