"""Wait until the driver service of this pod is ready.

The postStart hook of the driver's container: the kubelet starts the next container of the pod, Argo's agent,
when this command has ended. It asks GET /readyz on the health port of 127.0.0.1 until the answer is 200; the
service listens for the agent before it answers that.

Example:
  kfp-driver wait-ready --timeout 25

Exit codes: 0 the service is ready; 1 it is not by the end of the time (the last reason is on standard error);
2 wrong usage.
"""

# It starts beside the service and shares its processor: the standard library's smallest parts only, not the
# service's settings, not http.client.
import argparse
import math
import os
import socket
import sys
import time
from typing import Final

PORT_VARIABLE: Final = "KFP_DRIVER_HEALTH_PORT"
DEFAULT_PORT: Final = 10791
DEFAULT_SECONDS: Final = 25.0

_NOT_READY: Final = 1
_HOST: Final = "127.0.0.1"
_PAUSE_SECONDS: Final = 0.1
_TRY_SECONDS: Final = 2.0
"""How long the service may keep silent; not less at the end of the time, or the reason would be lost."""
_HIGHEST_PORT: Final = 65535
_MOST_BYTES: Final = 4096
"""Of an answer; the probe's is shorter."""
_SHOWN: Final = 200
"""Characters of an answer that are repeated."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``kfp-driver wait-ready``."""
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=DEFAULT_SECONDS,
        metavar="SECONDS",
        help=f"how long to go on asking; the last try may end later (default: {DEFAULT_SECONDS:g})",
    )
    parser.add_argument(
        "--health-port",
        type=_port,
        default=os.environ.get(PORT_VARIABLE) or str(DEFAULT_PORT),
        metavar="PORT",
        help=f"port of the probes (default: ${PORT_VARIABLE} or {DEFAULT_PORT})",
    )


def run(arguments: argparse.Namespace) -> int:
    """Wait; returns the exit code."""
    deadline = time.monotonic() + arguments.timeout
    while reason := reason_not_ready(arguments.health_port):
        if time.monotonic() >= deadline:
            where = f"{_HOST} port {arguments.health_port}"
            sys.stderr.write(
                f"kfp-driver wait-ready: not ready after {arguments.timeout:g} s: {where}: {reason}\n"
            )
            return _NOT_READY
        time.sleep(_PAUSE_SECONDS)
    return 0


def reason_not_ready(port: int) -> str:
    """Ask the service's probe once: why it is not ready, in one line; empty when it is."""
    try:
        with socket.create_connection((_HOST, port), timeout=_TRY_SECONDS) as connection:
            connection.sendall(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n")
            answer = _received(connection)
    except OSError as error:
        return error.strerror or str(error)
    head, _, body = answer.partition("\r\n\r\n")
    protocol, _, status = head.partition("\r\n")[0].partition(" ")
    if not protocol.startswith("HTTP/"):
        return "the answer is not HTTP"
    return "" if status.startswith("200") else " ".join(body.split())[:_SHOWN] or f"status {status}"


def _received(connection: socket.socket) -> str:
    """The whole answer, as far as it is of a probe's size and comes in time."""
    answer = b""
    deadline = time.monotonic() + _TRY_SECONDS
    while len(answer) < _MOST_BYTES and time.monotonic() < deadline:
        if not (part := connection.recv(_MOST_BYTES)):
            break
        answer += part
    return answer.decode("utf-8", "replace")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds


def _port(text: str) -> int:
    number = int(text) if text.isascii() and text.isdecimal() else 0
    if not 0 < number <= _HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (1 to {_HIGHEST_PORT})")
    return number
