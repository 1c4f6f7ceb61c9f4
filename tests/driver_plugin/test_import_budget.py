"""What service and launcher may import. Oracle: the import rule of ARCHITECTURE ("Performance by design").

The budget is a number of modules, a tenth above what there are: unlike time, nothing else on the machine
changes it.
"""

import json
import subprocess
import sys

import pytest

FORBIDDEN = (
    "boto3", "botocore", "s3transfer", "sqlalchemy", "jinja2", "kfp", "kubernetes", "yaml", "google.protobuf",
    "cel_expr_python", "compiler", "launcher", "local_stack",
)  # fmt: skip
NOT_FOR_A_LOCAL_TASK = (
    "boto3", "botocore", "s3transfer", "httpx", "click", "rich", "sqlalchemy", "jinja2", "kfp", "kubernetes",
    "yaml", "google.protobuf", "cel_expr_python", "compiler", "driver_plugin", "local_stack",
    "resolver.inputs", "resolver.expressions",
)  # fmt: skip
PROBE = """
import json, sys, time
started = time.process_time()
import {module}
seconds = time.process_time() - started
status = open("/proc/self/status").read()
kibibytes = int(status.split("VmRSS:")[1].split()[0])
print(json.dumps(dict(seconds=seconds, modules=sorted(sys.modules), mebibytes=kibibytes / 1024)))
"""


@pytest.mark.parametrize(
    ("module", "forbidden", "budget"),
    [
        ("driver_plugin.serve", FORBIDDEN, 600),
        ("driver_plugin.drivers.opening", FORBIDDEN, 740),
        ("launcher.task", NOT_FOR_A_LOCAL_TASK, 490),
    ],
    ids=["service until ready", "service behind the first call", "launcher"],
)
def test_start_up_imports_nothing_heavy(module: str, forbidden: tuple[str, ...], budget: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROBE.format(module=module)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    measured = json.loads(ended.stdout)
    modules = measured["modules"]
    sys.stdout.write(
        f"{module}: {measured['seconds']:.3f} s of processor time, {len(modules)} modules, "
        f"{measured['mebibytes']:.0f} MiB resident\n"
    )

    heavy = [name for name in modules if any(name == bad or name.startswith(f"{bad}.") for bad in forbidden)]
    assert heavy == []
    assert len(modules) <= budget


def test_service_is_ready_before_clients_and_models_are_imported() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROBE.format(module="driver_plugin.serve")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    modules = set(json.loads(ended.stdout)["modules"])
    assert not modules & {"httpx", "tenacity", "kfp_api.messages", "kfp_api.ir.pipeline", "resolver.inputs"}
