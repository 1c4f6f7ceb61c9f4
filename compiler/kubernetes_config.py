"""Reading a component's Kubernetes config, and what the compiler refuses in it (spec COMPILER 4, 6.2).

The compiler itself needs pod metadata and security context; the document travels to the driver as it is.
"""

from typing import Any, Final

from pydantic import ValidationError

from compiler.errors import CompileError
from compiler.options import CompilerOptions
from kfp_api.ir.kubernetes import KubernetesExecutorConfig, PodMetadata

_RESERVED_PREFIXES: Final = ("pipelines.kubeflow.org/", "workflows.argoproj.io/")


def read_kubernetes_config(
    component: str, document: dict[str, Any], options: CompilerOptions
) -> KubernetesExecutorConfig:
    """Parse and check the config of one component.

    Raises:
        CompileError: a field has the wrong type (E7), the executor would run as root although that is
            excluded (E8), or pod metadata claims a key of the system (E26).
    """
    try:
        config = KubernetesExecutorConfig.parse(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CompileError(
            f'failed to unmarshal kubernetes spec for component "{component}": {where}: {first["msg"]}'
        ) from error
    _check_root_user(component, config, options)
    _check_metadata_keys(component, config)
    return config


def _check_root_user(component: str, config: KubernetesExecutorConfig, options: CompilerOptions) -> None:
    context = config.security_context
    if context is None or options.default_run_as_user is not None:
        return
    non_root = (
        bool(context.run_as_non_root)
        if options.default_run_as_non_root is None
        else options.default_run_as_non_root
    )
    if non_root and context.run_as_user == 0:
        raise CompileError(
            f'runAsUser=0 (root) is not allowed for component "{component}": '
            "runAsNonRoot is true; use a non-root UID instead"
        )


def _check_metadata_keys(component: str, config: KubernetesExecutorConfig) -> None:
    metadata = config.pod_metadata or PodMetadata()
    for kind, entries in (("annotation", metadata.annotations), ("label", metadata.labels)):
        for key in sorted(entries):
            if key.startswith(_RESERVED_PREFIXES):
                raise CompileError(
                    f'pod {kind} "{key}" of component "{component}": the prefix is reserved, choose another'
                )
