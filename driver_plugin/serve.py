"""Run the driver service that Argo's agent calls.

It listens on loopback for POST /api/v1/template.execute, and on a second port for /healthz, /readyz and
/metrics. Settings come from environment variables; the options below take precedence over them.
"""

import argparse
import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web

from driver_plugin.app import Service, create_runner, open_service
from driver_plugin.errors import ConfigurationError, UsageError
from driver_plugin.http.health import HealthServer
from driver_plugin.invocation import Drive
from driver_plugin.listening import (
    PortBusyError,
    listen,
    listen_on_all_interfaces,
    listen_on_loopback,
    url_of,
)
from driver_plugin.ready_file import ReadyFile
from driver_plugin.settings import Settings, document_settings
from driver_plugin.system_logs import standard_output

DRAIN_SECONDS: Final = 20.0
"""After a stop signal: how long calls at work may take to end."""

FLUSH_SECONDS: Final = 20.0
"""After that: how long logs may take to be uploaded."""

STOP_SECONDS: Final = 25.0
"""How long both may take together: less than a pod's 30 s of grace."""

_EPILOG: Final = """\
examples:
  kfp-driver serve
      as the sidecar of Argo's agent pod: everything from the environment
  KFP_API_URL=http://127.0.0.1:8888 KFP_TOKEN_MODE=none KFP_DRIVER_AGENT_TOKEN_FILE=/tmp/token \\
    KFP_DRIVER_LOG_ROOT=/tmp/driver-logs kfp-driver serve --port 0 --health-port 0 --ready-file /tmp/ready
      on one machine, on free ports that the ready file names
  kfp-driver serve --settings
      every environment variable with its default and meaning

exit codes: 143 after SIGTERM, 130 after SIGINT, 78 for settings that cannot work, 2 for wrong usage
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options; each mirrors an environment variable where there is one."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "--port", type=_port, metavar="PORT", help="API port, 0 takes any free one (KFP_DRIVER_PORT)"
    )
    parser.add_argument(
        "--health-port",
        type=_port,
        metavar="PORT",
        help="port of the probes and metrics, 0 takes any free one (KFP_DRIVER_HEALTH_PORT)",
    )
    parser.add_argument(
        "--host", metavar="ADDRESS", help="serve the API on this address; default: 127.0.0.1 and ::1"
    )
    parser.add_argument(
        "--health-host", metavar="ADDRESS", help="serve the probes on this address; default: all interfaces"
    )
    parser.add_argument(
        "--log-level",
        choices=["DEBUG", "INFO", "WARNING", "ERROR"],
        help="least severity of records (KFP_DRIVER_LOG_LEVEL)",
    )
    parser.add_argument(
        "--ready-file",
        type=Path,
        metavar="PATH",
        help="JSON file with pid, url and health_url; written once the service listens, removed at its end",
    )
    parser.add_argument("--settings", action="store_true", help="print every environment variable, and leave")


def run(arguments: argparse.Namespace) -> int:
    """Serve until a stop signal; returns the exit code."""
    if arguments.settings:
        _print_settings()
        return 0
    environ = dict(os.environ)
    for option, variable in (
        ("port", "KFP_DRIVER_PORT"),
        ("health_port", "KFP_DRIVER_HEALTH_PORT"),
        ("log_level", "KFP_DRIVER_LOG_LEVEL"),
    ):
        value = getattr(arguments, option)
        if value is not None:
            environ[variable] = str(value)
    settings = Settings.from_environ(environ)
    if settings.caller_auth == "token-review":
        raise ConfigurationError("KFP_DRIVER_CALLER_AUTH=token-review is not supported; use agent-token")
    standard_output.configure(settings.log_level)
    with contextlib.ExitStack() as stack:
        api = _sockets(arguments.host, settings.port, given=arguments.port is not None)
        for listener in api:
            stack.callback(listener.close)
        health = _health_socket(
            arguments.health_host, settings.health_port, given=arguments.health_port is not None
        )
        stack.callback(health.close)
        return asyncio.run(serve(settings, api=api, health=health, ready_file=arguments.ready_file))


async def serve(
    settings: Settings,
    *,
    api: Sequence[socket.socket],
    health: socket.socket,
    ready_file: Path | None = None,
    drive: Drive | None = None,
) -> int:
    """Serve on listening sockets until SIGTERM or SIGINT, then drain; returns the exit code.

    Args:
        settings: The service's settings.
        api: Sockets for Argo's agent.
        health: Socket for the probes.
        ready_file: Written once everything listens.
        drive: Stands in for the drivers; the real ones by default.
    """
    stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with open_service(settings, drive=drive) as service:
        probes = HealthServer(health, ready=service.not_ready_because, metrics=service.metrics)
        probes.start()
        try:
            async with _listening(service, api):
                _on_stop_signals(stopped)
                # What start-up allocated stays for good: the collector need not walk it again.
                gc.freeze()
                with _ready(ready_file, api[0], health):
                    structlog.get_logger("serve").info("serving", url=url_of(api[0]), health=url_of(health))
                    service.drivers.warm_up()
                    number = await stopped
                await _stop(service)
        finally:
            await asyncio.to_thread(probes.close)
    return 128 + number


@contextlib.asynccontextmanager
async def _listening(service: Service, api: Sequence[socket.socket]) -> AsyncIterator[None]:
    runner = create_runner(service)
    await runner.setup()
    try:
        for listener in api:
            await web.SockSite(runner, listener).start()
        yield
    finally:
        await runner.cleanup()


async def _stop(service: Service) -> None:
    logger = structlog.get_logger("serve")
    logger.info("stopping")
    started = time.monotonic()
    await service.invocations.drain(DRAIN_SECONDS)
    left = STOP_SECONDS - (time.monotonic() - started)
    await service.uploader.flush(min(left, FLUSH_SECONDS))
    logger.info("stopped", seconds=round(time.monotonic() - started, 3))


def _on_stop_signals(stopped: "asyncio.Future[int]") -> None:
    def stop(number: int) -> None:
        if not stopped.done():
            stopped.set_result(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop, number)


@contextlib.contextmanager
def _ready(path: Path | None, api: socket.socket, health: socket.socket) -> Iterator[None]:
    """The ready file, for as long as the service takes calls."""
    file = ReadyFile(path)
    try:
        file.write({"pid": os.getpid(), "url": url_of(api), "health_url": url_of(health)})
    except OSError as error:
        raise UsageError(f"--ready-file {path}: {error.strerror}") from error
    try:
        yield
    finally:
        file.remove()


def _sockets(host: str | None, port: int, *, given: bool) -> list[socket.socket]:
    return _bound(lambda: listen_on_loopback(port) if host is None else [listen(host, port)], given=given)


def _health_socket(host: str | None, port: int, *, given: bool) -> socket.socket:
    return _bound(
        lambda: [listen_on_all_interfaces(port) if host is None else listen(host, port)], given=given
    )[0]


def _bound(bind: Callable[[], list[socket.socket]], *, given: bool) -> list[socket.socket]:
    """Sockets, or the error of whoever chose the port: the command line's user, or the pod's author."""
    try:
        return bind()
    except PortBusyError as error:
        raise (UsageError if given else ConfigurationError)(str(error)) from error


def _port(text: str) -> int:
    number = int(text) if text.isascii() and text.isdecimal() else -1
    if not 0 <= number <= 65535:  # noqa: PLR2004 (the highest port)
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return number


def _print_settings() -> None:
    for setting in document_settings():
        sys.stdout.write(f"{setting.variable} (default: {setting.default})\n    {setting.text}\n")
