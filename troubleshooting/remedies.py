"""What to do about a failure, by the text of its message: the table behind "do this" of ``explain``.

Messages are contracts (of the drivers, the resolver and the KFP API), so they can be matched. The first entry
that fits wins; special ones stand before general ones. A message that nothing fits is still shown: the table
adds advice, it decides nothing.
"""

import re
from typing import Final

_ADVICE: Final = (
    # Arguments of the template, and the workflow itself
    (
        r"--\S+ is required|unresolved placeholder in argument|invalid \S+ value",
        (
            "The workflow's driver template is wrong. Compile the pipeline again with `kfp-driver "
            "compile`, or rewrite the workflow with the version of the driver that runs."
        ),
    ),
    (
        r"iteration drivers are not supported|task .+ is not found|component .+ is not found",
        (
            "The workflow and the run's pipeline differ. Compile the workflow from the pipeline that the "
            "run was created with, and submit both together."
        ),
    ),
    # Inputs
    (
        r"(Secret|ConfigMap) \".+\",? (which )?has no key|put its value into the file",
        "Put the value into the file that the message names, then retry the run.",
    ),
    (
        r"loop-item-param.*the resolved input is null",
        (
            'The SDK loses a loop\'s item that stands in text, such as f"{item}-x", inside another group. '
            "Give the item to the task as an input of its own."
        ),
    ),
    (
        r"type mismatch|got null for input parameter",
        (
            "Give the input a value of the declared type, or change the type in the component. Values "
            "that a task produces keep the type that the component's output declares."
        ),
    ),
    (
        r"allowed literal values",
        "Use one of the allowed values, or extend the Literal of the component's input.",
    ),
    (
        r"producerTask task .+ not found|producer task, .+, not in tasks",
        (
            "The task that should produce this input did not run (skipped, or its driver failed), or its "
            "name is wrong. Look at it with `explain`; make the input optional if it may be absent."
        ),
    ),
    (
        r"cannot be iterated|cannot find parameter iterator",
        (
            "ParallelFor needs a list. Let the producing task return a list (an output annotated `list`), "
            "or pass a JSON list."
        ),
    ),
    (
        r"iterations, the limit is",
        (
            "Loop over fewer items, for example in batches, or let the operator raise "
            "KFP_DRIVER_MAX_ITERATIONS."
        ),
    ),
    (
        r"ArtifactIterator",
        "Loop over parameters instead: pass the artifacts' names or URIs as a list.",
    ),
    (
        r"evaluation error|unsupported expression feature|expression is longer|Syntax error|undeclared",
        (
            "Correct the condition: compare values of the same type, and only inputs of this task. The "
            "log at level DEBUG has the values."
        ),
    ),
    (
        r"not found in outputs|parameter not found|artifact not found|has no value|is null",
        (
            "The producing task has not written this output. Look at its log; give the input a default, "
            "or make it optional."
        ),
    ),
    (
        r"neither value nor default|required input|missing .*input|not provided|component input",
        (
            "Pass the missing input: as a parameter of the run, or in the pipeline. An input with a "
            "default, or an optional one, may be left out."
        ),
    ),
    (
        r"executor input has|pod spec patch has",
        "Pass the large value as an artifact instead of a parameter.",
    ),
    # Executor and pod
    (
        r"executor .* (not found|does not contain)|deployment spec|container image is empty",
        "The pipeline's file is incomplete. Compile it again with the KFP SDK.",
    ),
    (
        r"(?i)ErrImagePull|ImagePullBackOff|InvalidImageName|image .*(not found|cannot be pulled)",
        (
            "The image cannot be pulled. Check its name and tag (`docker pull`), and the namespace's "
            "imagePullSecrets."
        ),
    ),
    (
        r"volume claims need a Kubernetes cluster",
        ("CreatePVC and DeletePVC work on a cluster only. Use the workspace or artifacts in local runs."),
    ),
    (
        r"launcher (config|configmap)|provider config|pipeline root|unsupported Cloud bucket",
        (
            "Look at ConfigMap kfp-launcher of the namespace (`kubectl get configmap kfp-launcher -o "
            "yaml`): it must exist, be readable for the run's service account, and name a store."
        ),
    ),
    (
        r"(?i)configmap",
        (
            "Create the ConfigMap in the run's namespace, or let the run's service account read it: "
            "`kubectl auth can-i get configmaps --as system:serviceaccount:NAMESPACE:ACCOUNT`."
        ),
    ),
    (
        r"Kubernetes config|node selector|toleration|init container|mounted at|mount volume|volume mount",
        ("Correct the task's Kubernetes settings (`kfp.kubernetes.…` in the pipeline) and compile it again."),
    ),
    (
        r"failed to (create|delete) pvc",
        (
            "Check the claim's inputs and the rights of the run's service account: `kubectl auth can-i "
            "create persistentvolumeclaims`."
        ),
    ),
    # KFP API and Kubernetes
    (
        r"finding cached task",
        (
            "The cache lookup needs a base-audience token with `list` on runs: mount it "
            "(KFP_BASE_TOKEN_PATH), bind the role, or count refusals as misses with "
            "KFP_DRIVER_CACHE_LOOKUP_OPTIONAL=true."
        ),
    ),
    (
        r"HTTP 40[13]|refused the driver credential",
        (
            "The KFP API refused the credential. Check that the token's audience is this run's "
            "(KFP_TOKEN_PATH, KFP_TOKEN_AUDIENCE_BASE) and that the run's service account may use runs."
        ),
    ),
    (
        r"HTTP 404",
        (
            "What the call names does not exist on this server. Check KFP_API_URL and the run's id: the "
            "workflow may belong to another installation, or the run was deleted."
        ),
    ),
    (
        r"HTTP (429|5\d\d)|no answer|[Cc]onnect|timed? ?out|unavailable",
        (
            "The KFP API (or Kubernetes) was down for longer than KFP_DRIVER_OUTAGE_BUDGET. When it is "
            "back, retry the run."
        ),
    ),
    (
        r"terminal state",
        "The run had ended already. Retry or clone the run.",
    ),
    # Executors
    (
        r"executable file not found",
        (
            "The image has no such command; a local run uses no image, so the command has to be installed "
            "on this machine. A component without a command runs its arguments as one: KFP does not use "
            "the image's entrypoint."
        ),
    ),
    (
        r"exit (code|status)|Traceback|Error:|signal",
        (
            "The component's own code failed. Its log has the stack trace; correct the component, then "
            "retry the run: what succeeded is not executed again."
        ),
    ),
    (
        r"internal error",
        ("A defect of the driver. Its log has the stack trace; please report it with the invocation's id."),
    ),
)
_TABLE: Final = tuple((re.compile(pattern), advice) for pattern, advice in _ADVICE)


def remedy_for(message: str) -> str:
    """What to do about a failure with this message; ``""`` where nobody knows."""
    return next((advice for pattern, advice in _TABLE if pattern.search(message)), "")
