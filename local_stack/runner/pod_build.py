"""The pod of a node: template, pod-spec patches, metadata and environment (spec LAUNCHER E5.1).

What Argo's controller and the kubelet do to a pod before its process starts, as data to data. Secrets
and ConfigMaps are read from directories, one file per key.
"""

import json
import os
import re
import socket
import uuid
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from local_stack.runner.engine import PodRequest
from local_stack.runner.errors import NodeError
from local_stack.runner.pod_merge import merge_pod_spec, read_patch
from local_stack.runner.workflow import Workflow

MAIN: Final = "main"
WORKSPACE: Final = "/kfp-workspace"
"""Where drivers say that a run's workspace is mounted."""

_REFERENCE: Final = re.compile(r"\$(?:(\$)|\(([^()\s]*?)\))")
_WORKSPACE_PATH: Final = re.compile(rf"(?<![\w.-]){WORKSPACE}(?![\w.-])")
_METADATA_ENTRY: Final = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


@dataclass(frozen=True, kw_only=True)
class Pod:
    """A pod as the cluster would start it."""

    name: str
    namespace: str
    uid: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    spec: Mapping[str, Any]

    @property
    def main(self) -> Mapping[str, Any]:
        """The container that does the work."""
        for container in self.spec["containers"]:
            if container["name"] == MAIN:
                found: Mapping[str, Any] = container
                return found
        raise NodeError(f'the pod has no container "{MAIN}"')

    def to_json(self) -> str:
        """The pod as a Kubernetes manifest, for people who look at a run."""
        metadata = {
            "name": self.name,
            "namespace": self.namespace,
            "uid": self.uid,
            "labels": dict(self.labels),
            "annotations": dict(self.annotations),
        }
        document = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": self.spec}
        return json.dumps(document, indent=2)


@dataclass(frozen=True)
class ConfigDirectories:
    """Where Secrets and ConfigMaps are found: ``<directory>/<object name>/<key>``."""

    secrets: Path
    configmaps: Path

    def secret(self, name: str, key: str) -> str | None:
        """A Secret's value: the file, else ``KFP_SECRET_<NAME>_<KEY>`` of the environment."""
        variable = "KFP_SECRET_" + re.sub(r"[^A-Za-z0-9]", "_", f"{name}_{key}").upper()
        found = _read(self.secrets / name / key)
        return os.environ.get(variable) if found is None else found

    def configmap(self, name: str, key: str) -> str | None:
        """A ConfigMap's value."""
        return _read(self.configmaps / name / key)


def build_pod(workflow: Workflow, request: PodRequest) -> Pod:
    """The pod of a node, patches applied.

    Raises:
        NodeError: a patch cannot be applied.
    """
    template = request.template
    spec = _base_spec(workflow, template)
    for text in request.patches:
        spec = merge_pod_spec(spec, read_patch(text))
    metadata, defaults = template.get("metadata") or {}, workflow.spec.get("podMetadata") or {}
    return Pod(
        name=request.node.id,
        namespace=workflow.namespace,
        uid=str(uuid.uuid4()),
        labels={
            **(defaults.get("labels") or {}),
            **(metadata.get("labels") or {}),
            "workflows.argoproj.io/workflow": workflow.name,
        },
        annotations={
            **(defaults.get("annotations") or {}),
            **(metadata.get("annotations") or {}),
            "workflows.argoproj.io/node-id": request.node.id,
            "workflows.argoproj.io/node-name": request.node.name,
        },
        spec=spec,
    )


def _base_spec(workflow: Workflow, template: Mapping[str, Any]) -> dict[str, Any]:
    main = deepcopy(dict(template["container"])) | {"name": MAIN}
    claims = [
        {"name": name, "persistentVolumeClaim": {"claimName": f"{workflow.name}-{name}"}}
        for name in workflow.volume_claims
    ]
    volumes = [*(template.get("volumes") or ()), *(workflow.spec.get("volumes") or ()), *claims]
    return {
        "containers": [main, *deepcopy(template.get("sidecars") or [])],
        "initContainers": deepcopy(template.get("initContainers") or []),
        "volumes": deepcopy(list({volume["name"]: volume for volume in volumes}.values())),
        "serviceAccountName": workflow.spec.get("serviceAccountName") or "default",
        "restartPolicy": "Never",
    }


def with_workspace(pod: Pod, directory: Path) -> Pod:
    """The pod with its workspace at ``directory``: on one machine, each run has another."""
    volumes = pod.spec.get("volumes") or ()
    claims = [(volume.get("persistentVolumeClaim") or {}).get("claimName", "") for volume in volumes]
    if not any(claim.endswith(WORKSPACE.removeprefix("/")) for claim in claims):
        return pod
    return replace(pod, spec=_rebased(pod.spec, str(directory)))


def _rebased(value: Any, directory: str) -> Any:
    if isinstance(value, str):
        return _WORKSPACE_PATH.sub(lambda _match: directory, value)
    if isinstance(value, dict):
        return {key: _rebased(item, directory) for key, item in value.items()}
    if isinstance(value, list):
        return [_rebased(item, directory) for item in value]
    return value


def container_environment(
    pod: Pod, container: Mapping[str, Any], config: ConfigDirectories
) -> dict[str, str]:
    """Environment of a container: ``envFrom`` first, then ``env`` in order, with ``$(VAR)`` expanded.

    Raises:
        NodeError: a Secret, ConfigMap or key is missing and not optional.
    """
    environment: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        environment |= dict(_values_of_source(source, config))
    for variable in container.get("env") or ():
        name = variable["name"]
        if variable.get("valueFrom"):
            value = _value_from(pod, name, variable["valueFrom"], config)
            if value is not None:
                environment[name] = value
        else:
            environment[name] = expand(str(variable.get("value") or ""), environment)
    return environment


def expand(text: str, values: Mapping[str, str]) -> str:
    """Kubernetes' ``$(VAR)`` expansion: unknown names stay, ``$$`` becomes ``$``."""

    def replacement(match: re.Match[str]) -> str:
        if match.group(1):
            return "$"
        return values.get(match.group(2), match.group(0))

    return _REFERENCE.sub(replacement, text)


def _values_of_source(source: Mapping[str, Any], config: ConfigDirectories) -> Iterator[tuple[str, str]]:
    prefix = source.get("prefix") or ""
    for field, directory in (("secretRef", config.secrets), ("configMapRef", config.configmaps)):
        reference = source.get(field)
        if not reference:
            continue
        folder = directory / reference["name"]
        if not folder.is_dir():
            if reference.get("optional"):
                continue
            kind = "Secret" if field == "secretRef" else "ConfigMap"
            raise NodeError(f'{kind} "{reference["name"]}" does not exist; make the directory {folder}')
        for file in sorted(folder.iterdir()):
            if file.is_file():
                yield prefix + file.name, file.read_text()


def _value_from(pod: Pod, variable: str, source: Mapping[str, Any], config: ConfigDirectories) -> str | None:
    if "fieldRef" in source:
        return field_value(pod, source["fieldRef"]["fieldPath"])
    for field, read, kind in (
        ("secretKeyRef", config.secret, "Secret"),
        ("configMapKeyRef", config.configmap, "ConfigMap"),
    ):
        if field in source:
            name, key = source[field].get("name") or "", source[field]["key"]
            value = read(name, key)
            if value is None and not source[field].get("optional"):
                folder = config.secrets if kind == "Secret" else config.configmaps
                # No colon behind the name: what follows PASSWORD: is hidden as a secret.
                raise NodeError(
                    f'environment variable {variable} needs {kind} "{name}", which has no key "{key}"; '
                    f"put its value into the file {folder / name / key}"
                )
            return value
    raise NodeError(
        f"environment variable {variable}: valueFrom.{next(iter(source))} is not supported locally"
    )


def field_value(pod: Pod, path: str) -> str:
    """A field of the pod, as the downward API gives it.

    Raises:
        NodeError: the field is unknown.
    """
    entry = _METADATA_ENTRY.fullmatch(path)
    if entry:
        values = pod.labels if entry[1] == "labels" else pod.annotations
        return values.get(entry[2], "")
    known = {
        "metadata.name": pod.name,
        "metadata.namespace": pod.namespace,
        "metadata.uid": pod.uid,
        "spec.serviceAccountName": pod.spec.get("serviceAccountName", ""),
        "spec.nodeName": socket.gethostname(),
        "status.podIP": "127.0.0.1",
        "status.hostIP": "127.0.0.1",
    }
    if path not in known:
        raise NodeError(f"fieldRef {path} is not supported locally")
    return str(known[path])


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
