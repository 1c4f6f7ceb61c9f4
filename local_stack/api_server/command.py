"""Serves KFP's run, task and artifact API (REST, v2beta1) from one SQLite file.

Clients reach it at http://HOST:PORT/apis/v2beta1 (the OpenAPI document is openapi.json below that, metrics
are at /metrics); the KFP SDK takes kfp.Client(host="http://HOST:PORT").
Submitting a run stores it as PENDING; whoever executes it reports its states through POST /workflows.
SIGTERM and SIGINT stop the server after the requests in flight.

Exit codes: 143 after SIGTERM, 130 after SIGINT; 2 for wrong usage, a busy port, or a database that cannot
be used.
"""

import argparse
import asyncio
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from driver_plugin.listening import PortBusyError, listen, url_of
from driver_plugin.ready_file import ReadyFile
from local_stack.api_server.app import build_app
from local_stack.api_server.config import FULL_VIEW_PAGE_SIZE, ServerConfig
from local_stack.api_server.storage.database import path_of_url

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_DATABASE = "sqlite:///kfp.db"
DEFAULT_PORT = 8888

_SHUTDOWN_SECONDS = 10.0


class UsageError(Exception):
    """The server cannot start as asked; the text is one line for the user."""

    exit_code = 2


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port",
        type=_port,
        default=DEFAULT_PORT,
        help="port to listen on; 0 takes any free one, see --ready-file (default: %(default)s)",
    )
    parser.add_argument(
        "--database",
        default=DEFAULT_DATABASE,
        metavar="URL",
        help="sqlite:///RELATIVE or sqlite:////ABSOLUTE path, created when absent (default: %(default)s)",
    )
    parser.add_argument(
        "--ready-file",
        type=Path,
        metavar="PATH",
        help='JSON {"pid": ..., "url": ...}, written once the server listens and removed when it stops',
    )
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="PATH",
        help="ask every call but healthz for the bearer token in this file (default: ask nobody)",
    )
    beyond = parser.add_mutually_exclusive_group()
    beyond.add_argument(
        "--server-side-propagation",
        action="store_true",
        help="pass states and outputs of finished tasks on to the DAGs around them, for clients that do not",
    )
    beyond.add_argument(
        "--strict-upstream",
        action="store_true",
        help="for comparisons: do to rows what KFP's own server does, also where that loses data",
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal; returns the exit code.

    Raises:
        UsageError: the address cannot be used, or a file cannot be read or written.
        DatabaseError: the database cannot be used.
    """
    _log_to_standard_error()
    config = ServerConfig(
        database=path_of_url(arguments.database),
        token=_token(arguments.token_file),
        strict_upstream=arguments.strict_upstream,
        server_side_propagation=arguments.server_side_propagation,
        list_runs_full_view_max_page_size=_full_view_page_size(os.environ),
    )
    try:
        listener = listen(arguments.host, arguments.port)
    except PortBusyError as error:
        raise UsageError(str(error)) from error
    # The port is ours before the database is touched.
    with listener:
        return asyncio.run(_serve(build_app(config), listener, arguments.ready_file))


async def _serve(app: web.Application, listener: socket.socket, ready_path: Path | None) -> int:
    """Serve until a signal arrives; returns 128 plus its number."""
    signals: asyncio.Queue[int] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signals.put_nowait, number)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    ready = ReadyFile(ready_path)
    try:
        await runner.setup()
        await web.SockSite(runner, listener).start()
        try:
            ready.write({"pid": os.getpid(), "url": url_of(listener)})
        except OSError as error:
            raise UsageError(f"cannot write ready file {str(ready_path)!r}: {error.strerror}") from error
        sys.stdout.write(f"KFP API at {url_of(listener)}, stop it with Ctrl-C\n")
        sys.stdout.flush()
        return 128 + await signals.get()
    finally:
        ready.remove()
        await runner.cleanup()


def _log_to_standard_error() -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) not in range(65536):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return int(text)


def _token(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read token file {str(path)!r}: {error}") from error
    if not token:
        raise UsageError(f"token file {str(path)!r} is empty")
    return token


def _full_view_page_size(environ: "Mapping[str, str]") -> int:
    """``LIST_RUNS_FULL_VIEW_MAX_PAGE_SIZE``, KFP's own variable."""
    text = environ.get("LIST_RUNS_FULL_VIEW_MAX_PAGE_SIZE", "")
    if not text:
        return FULL_VIEW_PAGE_SIZE
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"LIST_RUNS_FULL_VIEW_MAX_PAGE_SIZE is not an integer: {text!r}") from None
