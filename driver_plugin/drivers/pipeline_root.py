"""Where a run's artifacts go: the run's own root, else the namespace's default (spec PODSPEC 11.2)."""

from driver_plugin.errors import DriverError
from driver_plugin.podspec.launcher_config import LauncherConfigReader
from driver_plugin.podspec.provision import run_root
from kfp_api.messages import Run


async def pipeline_root(
    run: Run, *, pipeline_name: str, run_id: str, namespace: str, launcher_config: LauncherConfigReader
) -> str:
    """``<root>/<pipeline name>/<run id>``, a query of the root kept at the end.

    Raises:
        DriverError: the namespace's configuration cannot be read; as retryable as its cause.
    """
    root = run.runtime_config.pipeline_root if run.runtime_config else ""
    try:
        root = root or (await launcher_config.read(namespace)).default_pipeline_root
        return run_root(root, pipeline_name, run_id)
    except DriverError as error:
        raise DriverError(f"failed to get pipeline root: {error}") from error
