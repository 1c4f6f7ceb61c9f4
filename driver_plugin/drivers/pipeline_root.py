"""Where a run's artifacts go: the run's own root, else the namespace's default (spec PODSPEC 11.2)."""

import asyncio
from typing import Final

from driver_plugin.errors import DriverError
from driver_plugin.podspec.launcher_config import LauncherConfigReader
from driver_plugin.podspec.provision import DEFAULT_PIPELINE_ROOT, run_root
from driver_plugin.podspec.values import EventLog
from kfp_api.messages import Run
from kfp_api.session_info import SessionInfoError, is_within_configured_stores, read_providers

_CHECK_SECONDS: Final = 3.0
"""A warning is not worth more of a call's time."""


async def pipeline_root(
    run: Run,
    *,
    pipeline_name: str,
    run_id: str,
    namespace: str,
    launcher_config: LauncherConfigReader,
    log: EventLog,
) -> str:
    """``<root>/<pipeline name>/<run id>``, a query of the root kept at the end.

    Raises:
        DriverError: the namespace's configuration cannot be read; as retryable as its cause.
    """
    own = run.runtime_config.pipeline_root.strip() if run.runtime_config else ""
    if own:
        await _warn_of_foreign_root(own, namespace=namespace, launcher_config=launcher_config, log=log)
    try:
        root = own or (await launcher_config.read(namespace)).default_pipeline_root
        return run_root(root, pipeline_name, run_id)
    except DriverError as error:
        raise DriverError(f"failed to get pipeline root: {error}") from error


async def _warn_of_foreign_root(
    root: str, *, namespace: str, launcher_config: LauncherConfigReader, log: EventLog
) -> None:
    """KFP's launcher would run the user's code and then refuse the upload; say so before."""
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            config = await launcher_config.read(namespace)
        reachable = is_within_configured_stores(
            root,
            read_providers(config.providers),
            default_root=config.default_pipeline_root or DEFAULT_PIPELINE_ROOT,
        )
    except (DriverError, SessionInfoError, TimeoutError) as error:
        # The run named its root, so that nothing of the configuration is needed to go on.
        log.warning(
            "pipeline root was not checked against the launcher configuration",
            error=str(error) or "no answer",
        )
        return
    if not reachable:
        log.warning(
            "pipeline root lies outside the namespace's default root and no provider override names its "
            "bucket; KFP's launcher will refuse to upload artifacts there",
            pipeline_root=root,
        )
