"""Executor and impl templates: a component's pod behind its cache decision (spec COMPILER 6.7).

Pod metadata and retries cannot be patched into a pod, so templates exist per *variant*: the number of
annotations and labels, and whether there is a retry. Everything else of a task comes by pod-spec patch.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final

from compiler.argo import (
    Json,
    dag_task,
    dag_template,
    input_tag,
    iteration_index_input,
    parameter,
    parameters,
)
from compiler.errors import CompileError
from compiler.options import CompilerOptions
from compiler.stable_json import go_text_number
from compiler.templates import pods
from kfp_api.ir.kubernetes import PodMetadata
from kfp_api.ir.pipeline import RetryPolicy

POD_SPEC_PATCH: Final = "pod-spec-patch"
CACHED_DECISION: Final = "cached-decision"

_RETRY_PARAMETERS: Final = (
    "retry-max-count",
    "retry-backoff-duration",
    "retry-backoff-factor",
    "retry-backoff-max-duration",
)
_PLACEHOLDER: Final = "should-be-overridden-during-runtime"
_DEFAULT_MAX_SECONDS: Final = 3600


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Which executor template serves a task: only counts matter, never the values."""

    annotations: int = 0
    labels: int = 0
    has_metadata: bool = False
    has_retry: bool = False

    @property
    def executor(self) -> str:
        """Name of the DAG template that a task calls."""
        return f"{self._prefix}system-container-executor"

    @property
    def impl(self) -> str:
        """Name of the pod template inside it."""
        return f"{self._prefix}system-container-impl"

    @property
    def _prefix(self) -> str:
        retry = "retry-" if self.has_retry else ""
        return f"metadata-{self.annotations}-{self.labels}-{retry}" if self.has_metadata else retry

    @property
    def metadata_parameters(self) -> list[str]:
        """Names of the parameters that carry pod metadata: annotations, then labels."""
        return [
            name
            for kind, count in (("annotation", self.annotations), ("label", self.labels))
            for index in range(1, count + 1)
            for name in _metadata_names(kind, index, count)
        ]


def _metadata_names(kind: str, index: int, count: int) -> tuple[str, str]:
    suffix = f"-{index}" if count > 1 else ""
    return f"pod-metadata-{kind}-key{suffix}", f"pod-metadata-{kind}-val{suffix}"


def metadata_arguments(metadata: PodMetadata) -> list[Json]:
    """What a task passes for the pod metadata parameters: the literal keys and values, sorted by key."""
    arguments: list[Json] = []
    for kind, entries in (("annotation", metadata.annotations), ("label", metadata.labels)):
        for index, key in enumerate(sorted(entries), start=1):
            key_name, value_name = _metadata_names(kind, index, len(entries))
            arguments += [parameter(key_name, value=key), parameter(value_name, value=entries[key])]
    return arguments


def retry_arguments(policy: RetryPolicy, *, parity: bool, warn: Callable[[str], None]) -> list[Json]:
    """What a task passes for the retry parameters; durations in whole seconds, without unit.

    Upstream leaves out an absent maximum, which Argo then reads as a deadline already passed, and
    passes fractional factors, which Argo refuses; only ``parity`` wants that.
    """
    duration = _whole_seconds("backoffDuration", policy.backoff_duration, warn=warn)
    maximum = _whole_seconds("backoffMaxDuration", policy.backoff_max_duration, warn=warn)
    factor = policy.backoff_factor
    if not parity:
        maximum = maximum or _DEFAULT_MAX_SECONDS
        if not math.isfinite(factor) or not factor.is_integer() or factor < 1:
            rounded = max(1.0, math.floor(factor + 0.5)) if math.isfinite(factor) else 1.0
            warn(
                f"retry backoff factor {go_text_number(factor)} is not a positive integer: using {rounded:g}"
            )
            factor = rounded
    values = (
        str(policy.max_retry_count),
        None if duration is None else str(duration),
        go_text_number(factor),
        None if maximum is None else str(maximum),
    )
    named = zip(_RETRY_PARAMETERS, values, strict=True)
    return [parameter(name, value=value) for name, value in named if value is not None]


def _whole_seconds(name: str, duration: str | None, *, warn: Callable[[str], None]) -> int | None:
    if duration is None:
        return None
    try:
        seconds = Decimal(duration.removesuffix("s"))
    except InvalidOperation:
        seconds = Decimal("NaN")
    if not duration.endswith("s") or not seconds.is_finite():
        raise CompileError(f'retryPolicy.{name}: "{duration}" is not a duration such as "30s"')
    if seconds != int(seconds):
        warn(f"retry {name} {duration}: the fraction of a second is dropped")
    return int(seconds)


def executor_template(variant: Variant) -> Json:
    """The DAG that runs the pod unless the driver found the task in the cache.

    A hit skips the pod and the DAG still succeeds, so that dependents run.
    """
    retry = _RETRY_PARAMETERS if variant.has_retry else ()
    passed_on = [POD_SPEC_PATCH, *variant.metadata_parameters, *retry]
    inputs = [
        parameter(POD_SPEC_PATCH),
        parameter(CACHED_DECISION, default="false"),
        iteration_index_input(),
        *(parameter(name) for name in variant.metadata_parameters),
        *(parameter(name, default="0") for name in retry),
    ]
    pod = dag_task(
        "executor",
        template=variant.impl,
        when=f"{input_tag(CACHED_DECISION)} != true",
        arguments=[parameter(name, value=input_tag(name)) for name in passed_on],
    )
    return dag_template(variant.executor, inputs=inputs, tasks=[pod])


def impl_template(variant: Variant, options: CompilerOptions) -> Json:
    """The pod of a container component; image and command are overridden by the pod-spec patch."""
    retry = _RETRY_PARAMETERS if variant.has_retry else ()
    copied = pods.scratch("kfp-launcher", "/kfp-launcher")
    mounts = [
        copied,
        pods.token_mount(options),
        pods.scratch("gcs-scratch", "/gcs"),
        pods.scratch("s3-scratch", "/s3"),
        pods.scratch("minio-scratch", "/minio"),
        pods.scratch("dot-local-scratch", "/.local"),
        pods.scratch("dot-cache-scratch", "/.cache"),
        pods.scratch("dot-config-scratch", "/.config"),
        *pods.custom_ca_mounts(options),
        pods.launcher_config_mount(),
    ]
    attempt = [{"name": "KFP_RETRY_INDEX", "value": "{{retries}}"}] if variant.has_retry else []
    return {
        "name": variant.impl,
        "inputs": parameters(
            parameter(name) for name in (POD_SPEC_PATCH, *variant.metadata_parameters, *retry)
        ),
        "outputs": {},
        "metadata": _impl_metadata(variant),
        "securityContext": {**pods.user_pod_security(), **pods.propagated_user(options)},
        **({"retryStrategy": _retry_strategy()} if variant.has_retry else {}),
        "podSpecPatch": input_tag(POD_SPEC_PATCH),
        "initContainers": [_launcher_copy(copied, options)],
        "container": {
            **pods.serialisation_noise(options, name="", resources={}),
            "image": f"gcr.io/ml-pipeline/{_PLACEHOLDER}",
            "command": [_PLACEHOLDER],
            "env": [*pods.pod_environment(options), *attempt],
            "envFrom": pods.launcher_environment_source(),
            "securityContext": _user_security(options),
            "volumeMounts": [mount.mount for mount in mounts],
        },
        "volumes": [mount.volume for mount in mounts],
    }


def _impl_metadata(variant: Variant) -> Json:
    """System metadata, with one tag as key and one as value per requested annotation and label."""
    names = variant.metadata_parameters
    pairs = [(input_tag(key), input_tag(value)) for key, value in zip(names[::2], names[1::2], strict=True)]
    return pods.system_metadata(
        variant.impl,
        runtime_role="launcher",
        pod_role="container-executor",
        annotations=dict(pairs[: variant.annotations]),
        labels=dict(pairs[variant.annotations :]),
    )


def _retry_strategy() -> Json:
    count, duration, factor, maximum = map(input_tag, _RETRY_PARAMETERS)
    return {
        "limit": count,
        "backoff": {"duration": duration, "factor": factor, "maxDuration": maximum},
    }


def _launcher_copy(target: pods.Mount, options: CompilerOptions) -> Json:
    return {
        "name": "kfp-launcher",
        "image": options.launcher_image,
        "command": list(options.launcher_command),
        "args": ["--copy", "/kfp-launcher/launch"],
        "resources": pods.resources(limits={"cpu": "500m", "memory": "256Mi"}, requests={"cpu": "100m"}),
        "securityContext": pods.container_security(),
        "volumeMounts": [target.mount],
    }


def _user_security(options: CompilerOptions) -> Json:
    administrator = {
        "runAsUser": options.default_run_as_user,
        "runAsGroup": options.default_run_as_group,
        "runAsNonRoot": options.default_run_as_non_root,
    }
    return {
        **pods.container_security(may_be_root=True),
        **{name: value for name, value in administrator.items() if value is not None},
    }
