"""The pod-spec patch: what building one costs, for a plain task and with a large Kubernetes configuration."""

import asyncio
import json
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from measure import Rows

from driver_plugin.podspec.quantity import canonical_quantity
from kfp_api.ir.kubernetes import KubernetesExecutorConfig
from local_stack.runner.pod_merge import merge_pod_spec, read_patch
from tests.driver_plugin.podspec.examples import patch_text, resolve_context
from tests.driver_plugin.podspec.executor_pod import base_pod_spec

ENTRIES = 50
ROUNDS = 200

PLAIN: dict[str, Any] = {
    "container": {
        "image": "python:3.11",
        "command": ["python", "-m", "train"],
        "args": ["--lr", "{{$.inputs.parameters['lr']}}"],
        "resources": {"resourceCpuLimit": "2", "resourceMemoryLimit": "0.5Gi"},
    },
    "inputs": {"parameterValues": {"lr": 0.1}},
}


def measure(_directory: Path) -> Rows:
    """Plain, large, and the parts of large."""
    return asyncio.run(_measure())


async def _measure() -> Rows:
    config = large_config()
    large = {**PLAIN, "config": config}
    context = resolve_context()
    plain_text = await patch_text(**PLAIN, context=context)
    large_text = await patch_text(**large, context=context)
    values = {**PLAIN, "inputs": {"parameterValues": {"lr": 0.1, "text": "x$" * 25_000}}}
    base = base_pod_spec()

    def of(given: dict[str, Any]) -> Callable[[], Awaitable[object]]:
        return lambda: patch_text(**given, context=context)

    async def parse() -> object:
        return KubernetesExecutorConfig.parse(config)

    async def merge() -> object:
        return merge_pod_spec(base, read_patch(large_text))

    async def quantity() -> object:
        return canonical_quantity("0.65Gi")

    entries = sum(len(value) for value in config.values() if isinstance(value, list))
    return [
        ("pod-spec patch, plain task", f"{await micros(of(PLAIN))}, {len(plain_text)} bytes"),
        (
            f"pod-spec patch, Kubernetes config with {entries} entries",
            f"{await micros(of(large))}, {len(large_text)} bytes",
        ),
        ("… of that: parsing the config", await micros(parse)),
        ("pod-spec patch, parameter of 50,000 characters", await micros(of(values))),
        ("pod-spec patch, peak memory of the large one", f"{await peak_kibibytes(of(large)):.0f} KiB"),
        ("local runner: merging the large patch", await micros(merge)),
        ("one quantity", await micros(quantity)),
    ]


def large_config() -> dict[str, Any]:
    """A config with every feature that has a list, fifty entries each; its JSON is what a call carries."""
    numbers = range(ENTRIES)
    document = {
        "pvcMount": [{"constant": f"claim-{n}", "mountPath": f"/pvc/{n}"} for n in numbers],
        "secretAsVolume": [{"secretName": f"secret.{n}", "mountPath": f"/secret/{n}"} for n in numbers],
        "configMapAsVolume": [{"configMapName": f"map-{n}", "mountPath": f"/map/{n}"} for n in numbers],
        "secretAsEnv": [
            {"secretName": f"s-{n}", "keyToEnv": [{"secretKey": "k", "envVar": f"S_{n}"}]} for n in numbers
        ],
        "configMapAsEnv": [
            {"configMapName": f"m-{n}", "keyToEnv": [{"configMapKey": "k", "envVar": f"M_{n}"}]}
            for n in numbers
        ],
        "tolerations": [{"key": f"k{n}", "operator": "Exists"} for n in numbers],
        "nodeAffinity": [
            {"matchExpressions": [{"key": f"z{n}", "operator": "In", "values": ["a"]}]} for n in numbers
        ],
        "emptyDirMounts": [
            {"volumeName": f"tmp-{n}", "mountPath": f"/scratch/{n}", "sizeLimit": "1Gi"} for n in numbers
        ],
        "genericEphemeralVolume": [
            {"volumeName": f"e-{n}", "mountPath": f"/e/{n}", "size": "5Gi", "accessModes": ["ReadWriteOnce"]}
            for n in numbers
        ],
        "initContainers": [{"name": f"init-{n}", "image": "busybox", "command": ["true"]} for n in numbers],
    }
    decoded: dict[str, Any] = json.loads(json.dumps(document))
    return decoded


async def micros(call: Callable[[], Awaitable[object]]) -> str:
    """Processor time of one call, the best of five series."""
    series = []
    for _ in range(5):
        started = time.process_time()
        for _ in range(ROUNDS // 5):
            await call()
        series.append((time.process_time() - started) / (ROUNDS // 5))
    return f"{min(series) * 1e6:,.0f} µs"


async def peak_kibibytes(call: Callable[[], Awaitable[object]]) -> float:
    """Most memory that one call holds at a time."""
    tracemalloc.start()
    await call()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / 1024
