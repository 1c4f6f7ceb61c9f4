"""How the plugin gets to a Workflow's agent pod (spec COMPILER 9.5, 11.5; DEPLOY 3.2).

*None*: the plugin comes from an ExecutorPlugin ConfigMap (Argo 4.0); the Workflow only carries pod metadata.
*Inline*: the Workflow declares the plugin itself (Argo 4.1 and newer) and patches the volumes of its sidecar
into its pods. What a Workflow has already is left as it is, so applying this twice changes nothing, and a
retried Workflow keeps the version of the driver that it started with.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar

from compiler.argo import RUN_ID_TAG, Json
from compiler.json_patch import Pointer, operation
from compiler.profile import PluginProfile
from compiler.sidecar import PLUGIN_NAME, executor_plugin, pod_volumes
from compiler.stable_json import stable_json
from compiler.yaml_text import YamlTextError, read_documents

_MOST_PATCH_VALUES: Final = 10_000
"""How many values a pod-spec patch may hold; a pod spec has hundreds."""


_T = TypeVar("_T", dict[str, Any], list[Any], str)


class Delivery(StrEnum):
    """Where Argo finds the plugin."""

    NONE = "none"
    INLINE = "inline"


@dataclass(frozen=True, kw_only=True)
class PluginDelivery:
    """How workflows get the plugin."""

    delivery: Delivery = Delivery.NONE
    profile: PluginProfile = field(default_factory=PluginProfile)


def add_delivery_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of every command that delivers the plugin."""
    parser.add_argument(
        "--delivery",
        choices=[str(one) for one in Delivery],
        help="inline: declare the plugin in the Workflow (Argo 4.1 or newer); none: it comes from an "
        "ExecutorPlugin ConfigMap (default without --profile)",
    )
    parser.add_argument(
        "--profile",
        type=Path,
        metavar="FILE",
        help="plugin profile, or the ConfigMap that holds it (YAML): image, environment and resources of the "
        "driver's sidecar, timeout and retries of driver calls; implies --delivery inline",
    )


def chosen_delivery(arguments: argparse.Namespace) -> PluginDelivery:
    """What the options ask for; :class:`ProfileError` for a profile that cannot be used."""
    profile = PluginProfile.load(arguments.profile) if arguments.profile else PluginProfile()
    implied = Delivery.INLINE if arguments.profile else Delivery.NONE
    return PluginDelivery(delivery=Delivery(arguments.delivery or implied), profile=profile)


class DeliveryError(ValueError):
    """The Workflow has something where the plugin's part would go; the text says what."""


def delivery_operations(
    spec: Mapping[str, Any], at: Pointer, plugin: PluginDelivery, *, run_id: str = RUN_ID_TAG
) -> list[Json]:
    """The operations that give a Workflow spec what it lacks for the plugin.

    Args:
        spec: a WorkflowSpec that has plugin templates.
        at: where the spec stands in its object.
        plugin: what to deliver.
        run_id: id of the run; the tag stands for it until submission.

    Raises:
        DeliveryError: a part of the spec has the wrong type, or its pod-spec patch cannot be read.
    """
    operations = _pod_metadata(spec, (*at, "podMetadata"), plugin.profile)
    if plugin.delivery is Delivery.INLINE:
        operations += _pod_spec_patch(spec, (*at, "podSpecPatch"), plugin.profile, run_id)
        operations += _executor_plugins(spec, (*at, "executorPlugins"), plugin.profile, run_id)
    return operations


def _pod_metadata(spec: Mapping[str, Any], at: Pointer, profile: PluginProfile) -> list[Json]:
    present = _member(spec, "podMetadata", dict)
    wanted = {
        kind: entries
        for kind, entries in (
            ("annotations", profile.pod_metadata.annotations),
            ("labels", profile.pod_metadata.labels),
        )
        if entries
    }
    if present is None:
        return [operation("add", at, wanted)] if wanted else []
    operations: list[Json] = []
    for kind, entries in wanted.items():
        existing = _member(present, kind, dict, of="podMetadata.")
        if existing is None:
            operations.append(operation("add", (*at, kind), entries))
        else:
            operations += [
                operation("add", (*at, kind, key), value)
                for key, value in entries.items()
                if key not in existing
            ]
    return operations


def _pod_spec_patch(spec: Mapping[str, Any], at: Pointer, profile: PluginProfile, run_id: str) -> list[Json]:
    text = _member(spec, "podSpecPatch", str) or ""
    patch = _parsed_patch(text)
    volumes = _member(patch, "volumes", list, of="podSpecPatch.") or []
    present = [volume.get("name") for volume in volumes if isinstance(volume, dict)]
    missing = [one for one in pod_volumes(profile, run_id=run_id) if one["name"] not in present]
    if not missing:
        return []
    merged = stable_json({**patch, "volumes": [*volumes, *missing]}, hardened=False)
    return [operation("replace" if "podSpecPatch" in spec else "add", at, merged)]


def _parsed_patch(text: str) -> dict[str, Any]:
    try:
        documents = read_documents(text, max_nodes=_MOST_PATCH_VALUES, kubernetes=True)
    except YamlTextError as error:
        raise DeliveryError(
            f"podSpecPatch cannot be read, so no volumes can be added to it: {error}"
        ) from error
    if not documents:
        return {}
    if len(documents) > 1 or not isinstance(documents[0], dict):
        raise DeliveryError("podSpecPatch is not one object, so no volumes can be added to it")
    return documents[0]


def _executor_plugins(
    spec: Mapping[str, Any], at: Pointer, profile: PluginProfile, run_id: str
) -> list[Json]:
    present = _member(spec, "executorPlugins", list)
    entry = executor_plugin(profile, run_id=run_id)
    if not present:
        return [operation("add", at, [entry])]
    names = [_declared_name(one) for one in present]
    return [] if PLUGIN_NAME in names else [operation("add", (*at, "-"), entry)]


def _declared_name(entry: object) -> object:
    metadata = entry.get("metadata") if isinstance(entry, dict) else None
    return metadata.get("name") if isinstance(metadata, dict) else None


def _member(holder: Mapping[str, Any], name: str, kind: type[_T], *, of: str = "") -> _T | None:
    """The member, ``None`` where it is absent or null."""
    value = holder.get(name)
    if value is None or isinstance(value, kind):
        return value
    expected = {dict: "an object", list: "a list", str: "a text"}[kind]
    raise DeliveryError(f"{of}{name}: expected {expected}")
