"""Modelcars: OCI images that hold a model, beside main in the same pod (spec PODSPEC 5.6).

The sidecar shares its process namespace with main and links its own root into a shared directory, so that
main reads the model in place; it ends when the launcher leaves a marker file there. An init container pulls
the image first and checks that it holds a model at all.
"""

import shlex
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

from driver_plugin.podspec.encoding import escape_dollars
from driver_plugin.podspec.pod import RESTRICTED, Pod
from driver_plugin.podspec.provision import modelcar_directory
from driver_plugin.podspec.values import JsonObject
from kfp_api.ir.executor_input import ArtifactList

_SCHEME: Final = "oci://"
_IDENTITY: Final = ("runAsUser", "runAsGroup", "runAsNonRoot")
_SEE_ERRORS: Final = "FallbackToLogsOnError"

_CHECK: Final = """\
if [ -d /models ] && [ -n "`ls -A /models`" ]; then
  echo 'modelcar: /models is there'
else
  echo 'modelcar: the image has no model in /models'
  exit 1
fi
"""

# The kubelet turns $$$$ into the shell's own $$.
_LINK: Final = """\
ln -sfn "/proc/$$$$/root/models" {model_path}
while [ ! -f {marker} ]; do
  sleep 1
done
"""


@dataclass(frozen=True)
class Modelcar:
    """One model image of a task."""

    index: int
    uri: str

    @property
    def image(self) -> str:
        """The image reference."""
        return self.uri.removeprefix(_SCHEME)

    @property
    def directory(self) -> str:
        """Where main and the sidecar share files."""
        return modelcar_directory(self.uri)


def modelcars(artifacts: Mapping[str, ArtifactList]) -> list[Modelcar]:
    """The model images among a task's inputs: one per distinct URI, in an order that only keys decide."""
    uris = {
        f"{key}-{index}": artifact.uri
        for key, found in artifacts.items()
        for index, artifact in enumerate(found.artifacts)
        if artifact.uri.startswith(_SCHEME)
    }
    distinct = dict.fromkeys(uris[name] for name in sorted(uris))
    return [Modelcar(index, uri) for index, uri in enumerate(distinct)]


def add_modelcars(pod: Pod, cars: list[Modelcar], *, env: list[JsonObject]) -> None:
    """Add the containers and volumes of ``cars``.

    ``env`` is what main's environment has in common with them; the last of equal names counts.
    """
    unique = list({variable["name"]: variable for variable in env}.values())
    for car in cars:
        volume = f"oci-{car.index}"
        sub_path = car.directory.removeprefix("/oci/")
        pod.add_scratch(volume, car.directory, sub_path=sub_path)
        link = _LINK.format(
            model_path=_quoted(f"{car.directory}/models"),
            marker=_quoted(f"{car.directory}/launcher-complete"),
        )
        pod.init_containers.append(_container(f"oci-prepull-{car.index}", car, script=_CHECK, env=unique))
        pod.sidecars.append(
            {
                **_container(volume, car, script=link, env=unique),
                "imagePullPolicy": "IfNotPresent",
                "volumeMounts": [{"name": volume, "mountPath": car.directory, "subPath": sub_path}],
            }
        )
    if cars:
        pod.fields["shareProcessNamespace"] = True


def align_identity(pod: Pod, cars: list[Modelcar]) -> None:
    """Give the modelcars main's final user: ``/proc/<pid>/root`` is readable to the same user only."""
    identity = {key: value for key, value in pod.main.get("securityContext", {}).items() if key in _IDENTITY}
    names = {name for car in cars for name in (f"oci-{car.index}", f"oci-prepull-{car.index}")}
    for container in (*pod.sidecars, *pod.init_containers):
        if container["name"] in names:
            container["securityContext"] |= identity


def _container(name: str, car: Modelcar, *, script: str, env: list[JsonObject]) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": name,
        "image": car.image,
        "resources": {},
        "command": ["sh", "-c", script],
        "terminationMessagePolicy": _SEE_ERRORS,
        "securityContext": deepcopy(dict(RESTRICTED)),
    }
    return container | ({"env": deepcopy(env)} if env else {})


def _quoted(path: str) -> str:
    return escape_dollars(shlex.quote(path))
