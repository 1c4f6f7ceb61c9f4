"""Who the pod runs as: the administrator's defaults and the author's wishes (spec PODSPEC 7.15).

An administrator's value always wins. The administrator's part holds for every task that has a pod, with or
without a Kubernetes config.
"""

from driver_plugin.argo.arguments import DriverCall
from driver_plugin.podspec.errors import PodSpecError
from driver_plugin.podspec.pod import Pod
from driver_plugin.podspec.values import EventLog, JsonObject, without_empty
from kfp_api.ir.kubernetes import SecurityContext


def administrator_identity(call: DriverCall) -> JsonObject:
    """The part of a container's security context that the administrator fixed."""
    return without_empty(
        {
            "runAsUser": call.default_run_as_user,
            "runAsGroup": call.default_run_as_group,
            "runAsNonRoot": call.default_run_as_non_root,
        }
    )


def set_security(pod: Pod, call: DriverCall, wished: SecurityContext | None, *, log: EventLog) -> None:
    """Set main's security context and the pod's user namespace.

    Raises:
        PodSpecError: the author asks for root where that is not allowed.
    """
    fixed = administrator_identity(call)
    context: JsonObject = dict(fixed)
    if call.default_host_users is not None:
        pod.fields["hostUsers"] = call.default_host_users
    if wished is not None:
        wishes = without_empty(
            {
                "runAsUser": wished.run_as_user,
                "runAsGroup": wished.run_as_group,
                "runAsNonRoot": wished.run_as_non_root,
            }
        )
        if ignored := sorted(wishes.keys() & fixed.keys()):
            log.warning(
                "security context is set by the administrator; values of the task ignored", fields=ignored
            )
        context = wishes | fixed
        if "runAsUser" not in fixed and context.get("runAsUser") == 0 and context.get("runAsNonRoot"):
            raise PodSpecError(
                "securityContext: runAsUser=0 (root) is not allowed: runAsNonRoot is true; "
                "use a non-root UID instead"
            )
        context["capabilities"] = {"drop": ["ALL"]}
    if context:
        pod.main["securityContext"] = context
