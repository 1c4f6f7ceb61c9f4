"""Where the pod may run: node selector, tolerations, node affinity (spec PODSPEC 7.5, 7.6, 7.14)."""

import json
from collections.abc import Iterable
from copy import deepcopy

from driver_plugin.podspec.errors import PodSpecError, naming
from driver_plugin.podspec.pod import Pod
from driver_plugin.podspec.task_config import PodPart
from driver_plugin.podspec.typed_json import decode_node_affinity, decode_string_map, decode_toleration
from driver_plugin.podspec.values import EventLog, JsonObject, without_empty
from kfp_api.ir.kubernetes import NodeAffinityTerm, NodeSelector, SelectorRequirement, Toleration
from resolver.context import ResolveContext, shortened
from resolver.errors import NullInputError, ResolutionError
from resolver.parameters import resolve_input_parameter, resolve_k8s_json_parameter
from resolver.values import kind_of

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


async def set_node_selector(pod: Pod, context: ResolveContext, selector: NodeSelector) -> None:
    """Set the node selector; a null one leaves the pod without."""
    labels = selector.labels
    if selector.node_selector_json is not None:
        try:
            labels = decode_string_map(await resolve_k8s_json_parameter(context, selector.node_selector_json))
        except NullInputError:
            return
        except (ResolutionError, PodSpecError) as error:
            raise PodSpecError(f"nodeSelector: failed to resolve node selector: {error}") from error
    route = pod.routes[PodPart.KUBERNETES_NODE_SELECTOR]
    if route.to_pod and labels:
        pod.fields["nodeSelector"] = dict(labels)
    if route.to_task_config:
        pod.task_config.node_selector = dict(labels)


async def add_tolerations(
    pod: Pod, context: ResolveContext, tolerations: Iterable[Toleration], *, log: EventLog
) -> None:
    """Set the tolerations; null and empty entries contribute nothing."""
    result: list[JsonObject] = []
    for index, toleration in enumerate(tolerations):
        if toleration.toleration_json is not None:
            with naming(f"tolerations[{index}]"):
                result += await _json_tolerations(context, toleration)
        elif flat := _flat_toleration(toleration):
            result.append(flat)
        else:
            log.warning("empty toleration in kubernetes config was ignored", index=index)
    if not result:
        return
    route = pod.routes[PodPart.KUBERNETES_TOLERATIONS]
    if route.to_pod:
        pod.fields["tolerations"] = deepcopy(result)
    if route.to_task_config:
        pod.task_config.tolerations = result


async def set_node_affinity(
    pod: Pod, context: ResolveContext, terms: Iterable[NodeAffinityTerm], *, log: EventLog
) -> None:
    """Set node affinity from all terms; required terms are alternatives to each other."""
    required: list[JsonObject] = []
    preferred: list[JsonObject] = []
    for index, term in enumerate(terms):
        if term.node_affinity_json is not None:
            with naming(f"nodeAffinity[{index}]"):
                affinity = await _json_affinity(context, term)
            required += affinity.get(_REQUIRED, {}).get("nodeSelectorTerms", [])
            preferred += affinity.get(_PREFERRED, [])
            continue
        if not term.match_expressions and not term.match_fields:
            log.warning("empty node affinity term in kubernetes config was ignored", index=index)
            continue
        selector = without_empty(
            {
                "matchExpressions": [_requirement(one) for one in term.match_expressions],
                "matchFields": [_requirement(one) for one in term.match_fields],
            }
        )
        if term.weight is None:
            required.append(selector)
        else:
            preferred.append({"weight": term.weight, "preference": selector})
    affinity = without_empty(
        {_REQUIRED: {"nodeSelectorTerms": required} if required else None, _PREFERRED: preferred}
    )
    if not affinity:
        return
    route = pod.routes[PodPart.KUBERNETES_AFFINITY]
    if route.to_pod:
        pod.fields["affinity"] = {"nodeAffinity": deepcopy(affinity)}
    if route.to_task_config:
        pod.task_config.affinity = {"nodeAffinity": affinity}


async def _json_tolerations(context: ResolveContext, toleration: Toleration) -> list[JsonObject]:
    assert toleration.toleration_json is not None
    try:
        value = await resolve_input_parameter(context, toleration.toleration_json)
    except NullInputError:
        return []
    except ResolutionError as error:
        raise PodSpecError(f"failed to resolve toleration: {error}") from error
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise PodSpecError(
            "encountered unexpected toleration proto value, must be either struct or list type, got "
            f"{kind_of(value)} {shortened(json.dumps(value))}"
        )
    decoded = [decode_toleration(item) for item in value]
    return [item for item in decoded if item]


def _flat_toleration(toleration: Toleration) -> JsonObject:
    return without_empty(
        {
            "key": toleration.key,
            "operator": toleration.operator,
            "value": toleration.value,
            "effect": toleration.effect,
            "tolerationSeconds": toleration.toleration_seconds,
        }
    )


async def _json_affinity(context: ResolveContext, term: NodeAffinityTerm) -> JsonObject:
    assert term.node_affinity_json is not None
    try:
        return decode_node_affinity(await resolve_k8s_json_parameter(context, term.node_affinity_json))
    except NullInputError:
        return {}
    except (ResolutionError, PodSpecError) as error:
        raise PodSpecError(f"failed to resolve node affinity json: {error}") from error


def _requirement(requirement: SelectorRequirement) -> JsonObject:
    document: JsonObject = {"key": requirement.key, "operator": requirement.operator}
    return document | ({"values": list(requirement.values)} if requirement.values else {})
