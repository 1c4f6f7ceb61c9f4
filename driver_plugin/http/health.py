"""``/healthz``, ``/readyz`` and ``/metrics`` on a port of their own, served by a thread.

Probes must be answered while the event loop is busy with a large call, so this is the standard library's
threading server and not a second aiohttp application (spec DEPLOY 4).
"""

import socket
import socketserver
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from driver_plugin.metrics import CONTENT_TYPE, Metrics

_TEXT: Final = "text/plain; charset=utf-8"
_REQUEST_SECONDS: Final = 5.0


class HealthServer:
    """Serves the probes on a bound, listening socket until :meth:`close`.

    Args:
        listener: The socket to accept on; owned by the server from here on.
        ready: Why the service is not ready, or an empty text when it is. Called in a thread.
        metrics: What ``/metrics`` shows.
    """

    def __init__(self, listener: socket.socket, *, ready: Callable[[], str], metrics: Metrics) -> None:
        self._server = _server(listener, ready=ready, metrics=metrics)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="health", daemon=True
        )

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def close(self) -> None:
        """Stop serving and close the socket."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _server(
    listener: socket.socket, *, ready: Callable[[], str], metrics: Metrics
) -> socketserver.BaseServer:
    class Handler(BaseHTTPRequestHandler):
        timeout = _REQUEST_SECONDS
        server_version = "kfp-driver"
        sys_version = ""

        def do_GET(self) -> None:
            if self.path == "/healthz":
                self._answer(HTTPStatus.OK, b"ok\n", _TEXT)
            elif self.path == "/readyz":
                reason = ready()
                status = HTTPStatus.SERVICE_UNAVAILABLE if reason else HTTPStatus.OK
                self._answer(status, f"{reason or 'ok'}\n".encode(), _TEXT)
            elif self.path == "/metrics":
                self._answer(HTTPStatus.OK, metrics.exposition(), CONTENT_TYPE)
            else:
                self._answer(HTTPStatus.NOT_FOUND, b"not found\n", _TEXT)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
            """Probes are not worth a line."""

        def _answer(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = _QuietServer(listener.getsockname()[:2], Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    return server


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A probe that hung up is nothing to report."""
