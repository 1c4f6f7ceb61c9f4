"""Executor variants: pod metadata, retries, security.

Oracle: spec COMPILER 6.2, 6.7 and its register entries C-7, C-18 and C-19; the upstream spelling of
durations and factors is that of the published Workflow ``pipeline_with_retry``.
"""

from typing import Any

import pytest

from compiler.errors import CompileError
from compiler.options import Mode
from tests.compiler.pipelines import (
    Json,
    arguments,
    compiled,
    dag_tasks,
    input_names,
    pipeline,
    task,
    templates,
)


def with_metadata(metadata: Json, **fields: Any) -> Json:
    return compiled(pipeline({"a": task(**fields)}, kubernetes={"exec-work": {"podMetadata": metadata}}))


def test_template_name_counts_annotations_and_labels() -> None:
    workflow = with_metadata(
        {"annotations": {"b": "2", "a": "1"}, "labels": {"only": "x"}}, retryPolicy={"maxRetryCount": 1}
    )
    call = dag_tasks(workflow)["a"]
    assert call["template"] == "metadata-2-1-retry-system-container-executor"
    assert list(arguments(call).items())[2:] == [
        ("pod-metadata-annotation-key-1", "a"),
        ("pod-metadata-annotation-val-1", "1"),
        ("pod-metadata-annotation-key-2", "b"),
        ("pod-metadata-annotation-val-2", "2"),
        ("pod-metadata-label-key", "only"),
        ("pod-metadata-label-val", "x"),
        ("retry-max-count", "1"),
        ("retry-backoff-factor", "1"),
        ("retry-backoff-max-duration", "3600"),
    ]
    impl = templates(workflow)["metadata-2-1-retry-system-container-impl"]
    assert impl["metadata"]["labels"]["{{inputs.parameters.pod-metadata-label-key}}"] == (
        "{{inputs.parameters.pod-metadata-label-val}}"
    )
    assert impl["container"]["env"][-1] == {"name": "KFP_RETRY_INDEX", "value": "{{retries}}"}


def test_empty_pod_metadata_makes_a_variant_of_its_own() -> None:
    workflow = with_metadata({})
    assert dag_tasks(workflow)["a"]["template"] == "metadata-0-0-system-container-executor"
    assert input_names(templates(workflow)["metadata-0-0-system-container-impl"]) == ["pod-spec-patch"]


def test_equal_counts_share_a_template() -> None:
    given = pipeline(
        {"a": task(), "b": task("comp-two")},
        components={"comp-two": {"executorLabel": "exec-two"}},
        executors={"exec-two": {"container": {"image": "x"}}},
        kubernetes={
            "exec-work": {"podMetadata": {"labels": {"x": "1"}}},
            "exec-two": {"pod_metadata": {"labels": {"y": "2"}}},
        },
    )
    found = dag_tasks(compiled(given))
    assert found["a"]["template"] == found["b"]["template"] == "metadata-0-1-system-container-executor"


RETRIES = {
    "all given": (
        {"maxRetryCount": 3, "backoffDuration": "5s", "backoffFactor": 2.0, "backoffMaxDuration": "60s"},
        ["3", "5", "2", "60"],
        ["3", "5", "2", "60"],
        0,
    ),
    "no maximum": (
        {"maxRetryCount": 1, "backoffDuration": "0s", "backoffFactor": 1},
        ["1", "0", "1", None],
        ["1", "0", "1", "3600"],
        0,
    ),
    "fractional factor": (
        {"maxRetryCount": 1, "backoffFactor": 2.5, "backoffMaxDuration": "10s"},
        ["1", None, "2.5", "10"],
        ["1", None, "3", "10"],
        1,
    ),
    "small factor": (
        {"maxRetryCount": 1, "backoffFactor": 0.2, "backoffMaxDuration": "10s"},
        ["1", None, "0.2", "10"],
        ["1", None, "1", "10"],
        1,
    ),
    "fraction of a second": (
        {"maxRetryCount": 1, "backoffDuration": "1.9s", "backoffFactor": 1, "backoffMaxDuration": "10s"},
        ["1", "1", "1", "10"],
        ["1", "1", "1", "10"],
        1,
    ),
}


@pytest.mark.parametrize(("policy", "upstream", "ours", "warned"), RETRIES.values(), ids=RETRIES)
def test_retry_arguments(
    policy: Json, upstream: list[str | None], ours: list[str | None], warned: int
) -> None:
    names = (
        "retry-max-count",
        "retry-backoff-duration",
        "retry-backoff-factor",
        "retry-backoff-max-duration",
    )
    given = pipeline({"a": task(retryPolicy=policy)})
    warnings: list[str] = []
    found = arguments(dag_tasks(compiled(given, warnings))["a"])
    assert [found.get(name) for name in names] == ours
    assert len(warnings) == warned
    found = arguments(dag_tasks(compiled(given, parity=True))["a"])
    assert [found.get(name) for name in names] == upstream


@pytest.mark.parametrize("duration", ["5", "fives", "infs", "1m"])
def test_retry_duration_that_is_none_is_refused(duration: str) -> None:
    given = pipeline({"a": task(retryPolicy={"maxRetryCount": 1, "backoffDuration": duration})})
    with pytest.raises(CompileError, match=f'task "a": retryPolicy.backoffDuration: "{duration}" is not'):
        compiled(given)


def test_administrator_security_applies_to_the_main_container_only() -> None:
    workflow = compiled(
        pipeline({"a": task()}),
        default_run_as_user=1000,
        default_run_as_group=0,
        default_run_as_non_root=False,
    )
    impl = templates(workflow)["system-container-impl"]
    assert impl["container"]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
        "runAsUser": 1000,
        "runAsGroup": 0,
        "runAsNonRoot": False,
    }
    assert impl["initContainers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


@pytest.mark.parametrize(("propagate", "user"), [(True, 1001), (False, None)])
def test_run_as_user_reaches_pods_only_when_propagated(*, propagate: bool, user: int | None) -> None:
    given = pipeline({"a": task(), "b": task("comp-import")})
    workflow = compiled(given, run_as_user=1001, propagate_run_as_user=propagate, mode=Mode.CONTAINER)
    assert workflow["spec"]["securityContext"]["runAsUser"] == 1001
    for name in ("system-container-impl", "system-importer"):
        assert templates(workflow)[name]["securityContext"].get("runAsUser") == user
