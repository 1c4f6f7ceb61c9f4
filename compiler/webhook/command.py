"""Rewrite Workflows on their way into a cluster: a mutating admission webhook.

It answers POST /mutate-workflow over TLS, and /healthz, /readyz and /metrics in plain HTTP on a second port.
Workflows that KFP's API server creates get plugin calls instead of driver pods; those that are updated only
get back what an older Argo library dropped. Certificate, key and profile are read again when they change.

Examples:
  kfp-driver webhook --tls-cert tls.crt --tls-key tls.key --profile profile.yaml
      as manifests/kustomize/base/rewriter runs it (Argo 4.1 or newer)
  kfp-driver webhook --tls-cert tls.crt --tls-key tls.key --delivery none --policy allow
      plugin calls only, for Argo 4.0; Workflows that cannot be rewritten keep their driver pods

Exit codes: 143 after SIGTERM, 130 after SIGINT, 78 for settings that cannot work, 2 for wrong usage.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web

from compiler.delivery import PluginDelivery, add_delivery_arguments, chosen_delivery
from compiler.errors import ProfileError
from compiler.rewriter.rewrite import RewriteOptions
from compiler.webhook.app import Webhook, admission_application, health_application
from compiler.webhook.errors import WebhookSettingsError
from compiler.webhook.metrics import WebhookMetrics
from compiler.webhook.reloading import POLL_SECONDS, ServingCertificate, WatchedFiles, watch
from compiler.webhook.review import Policy

_DRAIN_SECONDS: Final = 5.0
"""After a stop signal: how long open requests may take; the API server waits no longer."""
_HIGHEST_PORT: Final = 65535


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``kfp-driver webhook``."""
    parser.add_argument(
        "--tls-cert",
        type=Path,
        default=os.environ.get("KFP_DRIVER_TLS_CERT_FILE"),
        metavar="FILE",
        help="serving certificate with its chain, PEM (default: $KFP_DRIVER_TLS_CERT_FILE)",
    )
    parser.add_argument(
        "--tls-key",
        type=Path,
        default=os.environ.get("KFP_DRIVER_TLS_KEY_FILE"),
        metavar="FILE",
        help="its private key, PEM (default: $KFP_DRIVER_TLS_KEY_FILE)",
    )
    add_delivery_arguments(parser)
    parser.add_argument(
        "--policy",
        choices=[str(one) for one in Policy],
        default=str(Policy.DENY),
        help="what becomes of a Workflow that cannot be rewritten: deny it, because an installation with the "
        "native API cannot run it (default), or allow it with a warning",
    )
    parser.add_argument(
        "--lenient", action="store_true", help="pass driver flags through that this version does not know"
    )
    parser.add_argument("--host", default="", help="address to listen on (default: all interfaces)")
    parser.add_argument("--port", type=_port, default=9443, help="admission port (default: 9443; 0: any)")
    parser.add_argument(
        "--health-port", type=_port, default=10791, help="port of the probes (default: 10791; 0: any)"
    )
    parser.add_argument(
        "--poll-seconds",
        type=float,
        default=POLL_SECONDS,
        help=f"how often to look for a changed certificate or profile (default: {POLL_SECONDS:g})",
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until a stop signal; returns the exit code.

    Raises:
        WebhookSettingsError: certificate, profile or port cannot be used.
    """
    if not arguments.tls_cert or not arguments.tls_key:
        raise WebhookSettingsError(
            "--tls-cert and --tls-key are needed: Kubernetes calls webhooks over TLS only"
        )
    return asyncio.run(_serve(arguments))


class _Profile:
    """The delivery that the options ask for, read anew with the profile's file."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._plugin = PluginDelivery()

    def load(self) -> None:
        self._plugin = chosen_delivery(self._arguments)

    def options(self) -> RewriteOptions:
        return RewriteOptions(plugin=self._plugin, lenient=self._arguments.lenient)


async def _serve(arguments: argparse.Namespace) -> int:
    metrics = WebhookMetrics()
    certificate = ServingCertificate(arguments.tls_cert, arguments.tls_key)
    profile = _Profile(arguments)
    try:
        files = [
            WatchedFiles("certificate", [arguments.tls_cert, arguments.tls_key], certificate.load, metrics),
            WatchedFiles("profile", [arguments.profile] if arguments.profile else [], profile.load, metrics),
        ]
    except ProfileError as error:
        raise WebhookSettingsError(str(error)) from error
    stopped = _stop_signal()
    webhook = Webhook(profile.options, policy=Policy(arguments.policy), metrics=metrics)
    admission = admission_application(webhook)
    health = health_application(metrics, ready=lambda: not stopped.done())
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(
            _listening(admission, arguments.host, arguments.port, tls=certificate.context)
        )
        # Who can ask whether the webhook is ready finds it ready.
        probes = await stack.enter_async_context(_listening(health, arguments.host, arguments.health_port))
        _log_to_standard_output()
        watching = asyncio.create_task(watch(files, seconds=arguments.poll_seconds))
        stack.callback(watching.cancel)
        logger = structlog.get_logger("webhook")
        logger.info("serving", url=url, health_url=probes, policy=arguments.policy)
        number = await stopped
        logger.info("stopping")
    return 128 + number


def _log_to_standard_output() -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ]
    )


def _stop_signal() -> "asyncio.Future[int]":
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[int] = loop.create_future()

    def stop(number: int) -> None:
        if not stopped.done():
            stopped.set_result(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    return stopped


@contextlib.asynccontextmanager
async def _listening(
    application: web.Application, host: str, port: int, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Serve the application; its address on this machine."""
    runner = web.AppRunner(
        application,
        access_log=None,
        shutdown_timeout=_DRAIN_SECONDS,
        # Kubernetes compresses nothing here, and what others pack may unpack to anything.
        auto_decompress=False,
    )
    await runner.setup()
    try:
        listener = _bound(host, port)
        await web.SockSite(runner, listener, ssl_context=tls).start()
        scheme = "https" if tls else "http"
        yield f"{scheme}://{host or '127.0.0.1'}:{listener.getsockname()[1]}"
    finally:
        await runner.cleanup()


def _bound(host: str, port: int) -> socket.socket:
    try:
        if host:
            return socket.create_server((host, port))
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        return socket.create_server(("", port), family=family, dualstack_ipv6=both)
    except OSError as error:
        where = f"{host} port {port}" if host else f"port {port}"
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise WebhookSettingsError(f"cannot listen on {where}: {reason}") from error


def _port(text: str) -> int:
    number = int(text) if text.isascii() and text.isdecimal() else -1
    if not 0 <= number <= _HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to {_HIGHEST_PORT})")
    return number
