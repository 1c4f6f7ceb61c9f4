"""What the commands read from: the local stack's data directory, or any KFP API with its log store.

Options, and what they open. A data directory is read in this process, also while a run is at work in it.
"""

import argparse
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from driver_plugin.errors import UsageError
from driver_plugin.settings import Settings
from driver_plugin.system_logs.opening import open_store
from kfp_api.client import KfpApiClient
from kfp_api.credentials import Credentials, NoCredentials, TokenFileCredentials, TokenMode
from troubleshooting.logs import DriverLogs
from troubleshooting.task_logs import TaskLogs

DEFAULT_DATA_DIRECTORY: Final = Path(".kfp-driver")

SOURCE_EPILOG: Final = """\
where it looks:
  by default in the local stack's data directory .kfp-driver; --data-dir names another one
  --api-url asks a KFP API server; its driver logs are found by the hint on the task rows, by --log-root, or
  by KFP_DRIVER_LOG_ROOT, and read with KFP_DRIVER_S3_ACCESS_KEY and KFP_DRIVER_S3_SECRET_KEY (else AWS's own
  variables) from OBJECT_STORE_HOST:OBJECT_STORE_PORT, e.g. a forwarded port
"""


@dataclass(frozen=True, kw_only=True)
class Source:
    """An open KFP API, its driver logs, and the output of its executors.

    ``option`` is what another command line needs to look at the same place. ``interrupted`` says, where that
    is known, that nobody executes the runs that have not ended, and what goes on with them.
    """

    client: KfpApiClient
    logs: DriverLogs
    task_logs: TaskLogs
    option: str = ""
    interrupted: str = ""


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options that say where to look."""
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="data directory of local runs (default: .kfp-driver)"
    )
    place.add_argument("--api-url", metavar="URL", help="KFP API server, such as http://localhost:8888")
    parser.add_argument("--token-file", type=Path, metavar="PATH", help="bearer token for --api-url")
    parser.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="NAME: VALUE",
        help="extra header for --api-url, such as 'kubeflow-userid: me@example.com'; repeatable",
    )
    parser.add_argument(
        "--ca-file", type=Path, metavar="PATH", help="extra trust anchors (PEM) for --api-url and log store"
    )
    parser.add_argument(
        "--namespace",
        default="",
        help="where to look for a run that is not named by its id; multi-user servers need it",
    )
    parser.add_argument("--log-root", metavar="URI", help="where the service keeps its logs")


@asynccontextmanager
async def open_source(
    arguments: argparse.Namespace, environ: Mapping[str, str] = os.environ
) -> AsyncIterator[Source]:
    """Open what the options name.

    Raises:
        UsageError: there is nothing there, or an option cannot be used.
    """
    if arguments.api_url:
        async with _remote(arguments, environ) as source:
            yield source
        return
    for option in ("token_file", "header", "ca_file"):
        if getattr(arguments, option):
            raise UsageError(f"--{option.replace('_', '-')} needs --api-url")
    async with _local(arguments, environ) as source:
        yield source


@asynccontextmanager
async def _remote(arguments: argparse.Namespace, environ: Mapping[str, str]) -> AsyncIterator[Source]:
    own = {"KFP_CA_FILE": str(arguments.ca_file)} if arguments.ca_file else {}
    settings = Settings.from_environ({**environ, **own})
    try:
        client = KfpApiClient(
            arguments.api_url,
            credentials=CommandLineCredentials(arguments.token_file, _headers(arguments.header)),
            verify=_trust(arguments.ca_file),
        )
    except ValueError as error:
        raise UsageError(f"--api-url: {error}") from error
    async with client:
        open_root = partial(open_store, settings=settings)
        yield Source(
            client=client,
            logs=DriverLogs(arguments.log_root or settings.log_root, open_root=open_root),
            task_logs=TaskLogs(open_root=open_root),
            option=f" --api-url {arguments.api_url}",
        )


@asynccontextmanager
async def _local(arguments: argparse.Namespace, environ: Mapping[str, str]) -> AsyncIterator[Source]:
    # The local stack's packages are not part of the sidecar's image.
    from aiohttp import web  # noqa: PLC0415

    from local_stack.api_server.app import build_app  # noqa: PLC0415
    from local_stack.api_server.config import ServerConfig  # noqa: PLC0415
    from local_stack.data_directory import DataDirectory  # noqa: PLC0415

    given = arguments.data_dir or DEFAULT_DATA_DIRECTORY
    data = DataDirectory.at(given)
    if not data.database.is_file():
        raise UsageError(
            f"there are no runs in {given}; name the data directory of a local run with --data-dir, "
            "or a KFP API server with --api-url"
        )
    runner = web.AppRunner(build_app(ServerConfig(database=data.database)), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        settings = Settings.from_environ(environ)
        async with KfpApiClient(f"http://{host}:{port}") as client:
            open_root = partial(open_store, settings=settings)
            yield Source(
                client=client,
                logs=DriverLogs(arguments.log_root or str(data.driver_logs), open_root=open_root),
                task_logs=TaskLogs(open_root=open_root, data_directory=data.root),
                option=data.option,
                interrupted=_interruption(data.option) if data.holder() is None else "",
            )
    finally:
        await runner.cleanup()


def _interruption(option: str) -> str:
    return f"it was interrupted; kfp-driver local resume{option} goes on with the run"


class CommandLineCredentials:
    """A person's credential: a token with the base audience, and headers that a gateway may want."""

    def __init__(self, token_file: Path | None, headers: Mapping[str, str]) -> None:
        self._token: Credentials = NoCredentials()
        if token_file is not None:
            if not token_file.is_file():
                raise UsageError(f"--token-file {token_file}: there is no such file")
            self._token = TokenFileCredentials(None, token_file, mode=TokenMode.BASE)
        self._headers = headers

    async def headers(self, *, run_id: str | None, base_audience: bool) -> Mapping[str, str]:
        """Token and extra headers; an extra header replaces the token's."""
        token = await self._token.headers(run_id=run_id, base_audience=base_audience)
        return {**token, **self._headers}

    async def refresh(self) -> bool:
        """Read the token file again."""
        return await self._token.refresh()


def _headers(given: list[str]) -> dict[str, str]:
    headers = {}
    for text in given:
        name, colon, value = text.partition(":")
        if not colon or not name.strip().isascii() or not name.strip() or not value.strip().isprintable():
            raise UsageError("--header takes NAME: VALUE")
        headers[name.strip()] = value.strip()
    return headers


def _trust(ca_file: Path | None) -> ssl.SSLContext | bool:
    if ca_file is None:
        return True
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(cafile=ca_file)
    except (OSError, ValueError) as error:
        raise UsageError(f"--ca-file {ca_file}: no certificates can be read from it") from error
    return context
