"""Creating and deleting volume claims: states, names, repetitions and errors.

Oracle: spec DRIVER 8 and PODSPEC 9 (with D-22 to D-30); rows are those of the embedded KFP API, claims
live in a small stand-in of the Kubernetes API, which is called by the real client.
"""

import pytest

from driver_plugin.argo.driver_type import DriverType
from driver_plugin.argo.replies import DriverResult
from driver_plugin.drivers.platform_operations import RUN_LABEL, TASK_LABEL
from driver_plugin.drivers.rows import ATTEMPT_PROPERTY
from driver_plugin.errors import is_retryable
from kfp_api.messages import IOType, TaskState
from tests.driver_plugin.drivers.cluster import Cluster
from tests.driver_plugin.drivers.pipelines import PLATFORM_IMAGES, Json, claims, constant, dag, pipeline, task
from tests.driver_plugin.drivers.stack import Stack, inputs_of, outputs_of


async def test_a_claim_is_created_and_deleted_by_the_driver_alone(stack: Stack, cluster: Cluster) -> None:
    run = await stack.start(claims(pvc_name="shared"))
    created = await run.container("createpvc")
    row = await run.row(created.task_id)
    assert created == DriverResult(task_id=row.task_id)
    assert (row.state, row.end_time is not None) == (TaskState.SUCCEEDED, True)
    assert inputs_of(row)["size"] == "5Gi"
    (output,) = row.output_parameters
    assert (output.parameter_key, output.value, output.type) == ("name", "shared", IOType.OUTPUT)
    claim = cluster.claims["shared"]
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "5Gi"}},
        "storageClassName": "fast",
    }
    assert claim["metadata"]["labels"] == {RUN_LABEL: run.run_id, TASK_LABEL: row.task_id}
    await run.container("deletepvc")
    assert cluster.claims == {}
    assert await run.states() == {"ROOT": "SUCCEEDED", "createpvc": "SUCCEEDED", "deletepvc": "SUCCEEDED"}


async def test_a_generated_name_is_the_same_on_every_attempt(stack: Stack, cluster: Cluster) -> None:
    run = await stack.start(claims(pvc_name_suffix="-data"))
    cluster.failure = 403
    failure = await run.failing(DriverType.CONTAINER, "createpvc")
    assert "failed to create pvc: " in str(failure)
    assert "quota exceeded" in str(failure)
    assert (await run.row(failure.partial.task_id)).state is TaskState.FAILED
    cluster.failure = None
    result = await run.container("createpvc")
    (name,) = cluster.claims
    assert name.endswith("-data")
    assert cluster.requests == [f"POST {name}", f"POST {name}"]
    assert outputs_of(await run.row(result.task_id)) == {"name": name}
    assert (await run.row(run.root)).state is TaskState.RUNNING


async def test_a_claim_of_an_earlier_attempt_is_found_again(stack: Stack, cluster: Cluster) -> None:
    run = await stack.start(claims(pvc_name_suffix="-data"))
    failure = await run.failing(DriverType.CONTAINER, "createpvc", kubernetes_config=None, namespace="other")
    assert "failed to create pvc" in str(failure)
    first = await run.container("createpvc")
    (name,) = cluster.claims
    (row,) = await run.rows("createpvc")
    await stack.client.update_task(
        run.run_id, row.task_id, row.model_copy(update={"state": TaskState.FAILED})
    )
    assert await run.container("createpvc") == first
    assert list(cluster.claims) == [name]


async def test_a_foreign_claim_under_a_generated_name_is_not_taken(stack: Stack, cluster: Cluster) -> None:
    run = await stack.start(claims(pvc_name_suffix="-data"))
    await run.container("createpvc")
    (name,) = cluster.claims
    cluster.claims[name]["metadata"]["labels"] = {}
    (row,) = await run.rows("createpvc")
    await stack.client.update_task(
        run.run_id, row.task_id, row.model_copy(update={"state": TaskState.FAILED})
    )
    failure = await run.failing(DriverType.CONTAINER, "createpvc")
    assert f"{name} exists and belongs to something else" in str(failure)


async def test_an_existing_claim_under_a_chosen_name_is_used_with_a_warning(
    stack: Stack, cluster: Cluster
) -> None:
    cluster.claims["shared"] = {"metadata": {"name": "shared"}, "spec": {"accessModes": ["ReadWriteMany"]}}
    run = await stack.start(claims(pvc_name="shared"))
    result = await run.container("createpvc")
    assert (await run.row(result.task_id)).state is TaskState.SUCCEEDED
    log = run.log.body("succeeded").decode()
    assert "claim exists and is used as it is" in log
    assert "accessModes" in log


async def test_a_repeated_operation_is_answered_from_its_row(stack: Stack, cluster: Cluster) -> None:
    run = await stack.start(claims(pvc_name="shared"))
    first = await run.container("createpvc")
    assert await run.container("createpvc") == first
    assert cluster.requests == ["POST shared"]


async def test_a_hit_counts_only_while_its_claim_exists(stack: Stack, cluster: Cluster) -> None:
    spec = claims(pvc_name="shared", cache=True)
    first = await stack.start(spec)
    assert not (await first.container("createpvc")).cached
    second = await stack.start(spec)
    result = await second.container("createpvc")
    row = await second.row(result.task_id)
    assert (result.cached, row.state, outputs_of(row)) == (True, TaskState.CACHED, {"name": "shared"})
    cluster.claims.clear()
    third = await stack.start(spec)
    assert not (await third.container("createpvc")).cached
    assert "shared" in cluster.claims


async def test_a_deletion_is_never_cached_and_a_missing_claim_is_deleted(
    stack: Stack, cluster: Cluster
) -> None:
    spec = claims(pvc_name="shared", cache=True)
    for _ in range(2):
        run = await stack.start(spec)
        await run.container("createpvc")
        cluster.claims.clear()
        result = await run.container("deletepvc")
        assert not result.cached
        assert (await run.row(result.task_id)).state is TaskState.SUCCEEDED
    assert cluster.requests.count("DELETE shared") == 2


async def test_a_false_condition_comes_before_every_check(stack: Stack) -> None:
    run = await stack.start(claims(condition="1 == 2", size="lots"))
    result = await run.container("createpvc")
    row = await run.row(result.task_id)
    assert (result.condition, row.state, row.end_time is not None) == (False, TaskState.SKIPPED, True)
    assert outputs_of(row) == {}


async def test_a_false_condition_comes_before_missing_inputs(stack: Stack, cluster: Cluster) -> None:
    spec = claims(condition="1 == 2")
    for name in ("size", "access_modes"):
        del spec["root"]["dag"]["tasks"]["createpvc"]["inputs"]["parameters"][name]
    run = await stack.start(spec)
    result = await run.container("createpvc")
    assert (result.condition, (await run.row(result.task_id)).state) == (False, TaskState.SKIPPED)
    assert cluster.requests == []


async def test_without_a_cluster_the_task_says_so(stack: Stack) -> None:
    run = await stack.start(claims(pvc_name="shared"))
    failure = await run.failing(DriverType.CONTAINER, "createpvc")
    assert "Kubernetes" in str(failure)
    assert (await run.row(failure.partial.task_id)).state is TaskState.FAILED


async def test_a_claim_made_in_a_loop_is_an_output_of_its_iteration(stack: Stack, cluster: Cluster) -> None:
    inner = claims(pvc_name_suffix="-x")
    create = inner["root"]["dag"]["tasks"]["createpvc"]
    spec = pipeline(
        {"for-loop-1": task("comp-loop", items="[1, 2]")},
        {"comp-loop": dag({"createpvc": create}), **inner["components"]},
        images=PLATFORM_IMAGES,
    )
    run = await stack.start(spec)
    loop = (await run.dag("for-loop-1")).task_id
    for index in (0, 1):
        row = await run.row((await run.container("createpvc", loop, index)).task_id)
        (output,) = row.output_parameters
        assert output.type is IOType.ITERATOR_OUTPUT
        assert output.producer is not None
        assert output.producer.iteration == index
    assert len(cluster.claims) == 2
    assert set((await run.states()).values()) == {"SUCCEEDED"}


async def test_an_unavailable_cluster_leaves_the_row_running_for_the_next_try(
    stack: Stack, cluster: Cluster
) -> None:
    run = await stack.start(claims(pvc_name="shared"))
    cluster.failure = 503
    failure = await run.failing(DriverType.CONTAINER, "createpvc")
    assert (await run.row(failure.partial.task_id)).state is TaskState.RUNNING
    cluster.failure = None
    result = await run.container("createpvc")
    assert (await run.row(result.task_id)).state is TaskState.SUCCEEDED


async def test_a_claim_that_is_being_deleted_is_no_hit_and_its_name_is_waited_for(
    stack: Stack, cluster: Cluster
) -> None:
    spec = claims(pvc_name="shared", cache=True)
    await (await stack.start(spec)).container("createpvc")
    cluster.claims["shared"]["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    run = await stack.start(spec)
    failure = await run.failing(DriverType.CONTAINER, "createpvc")
    assert 'task "createpvc": failed to create pvc: shared exists and is being deleted' in str(failure)
    assert is_retryable(failure)
    assert (await run.row(failure.partial.task_id)).state is TaskState.RUNNING
    cluster.claims.clear()
    assert not (await run.container("createpvc")).cached
    assert "deletionTimestamp" not in cluster.claims["shared"]["metadata"]


async def test_a_claim_that_vanishes_after_the_conflict_is_made_anew(stack: Stack, cluster: Cluster) -> None:
    run = await stack.start(claims(pvc_name="shared"))
    cluster.failure = 409
    failure = await run.failing(DriverType.CONTAINER, "createpvc")
    assert "shared existed and was deleted meanwhile" in str(failure)
    assert is_retryable(failure)
    cluster.failure = None
    result = await run.container("createpvc")
    assert outputs_of(await run.row(result.task_id)) == {"name": "shared"}
    assert "shared" in cluster.claims


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"pvc_name": "a", "pvc_name_suffix": "-b"}, "at most one of pvc_name and pvc_name_suffix"),
        ({"pvc_name": "a", "size": "lots"}, 'failed to parse pvc size "lots"'),
        ({"pvc_name": "a", "access_modes": ["RWX"]}, 'unknown access mode "RWX"'),
    ],
)
async def test_a_mistake_fails_the_row_with_task_input_and_value_before_any_request(
    stack: Stack, cluster: Cluster, values: Json, text: str
) -> None:
    run = await stack.start(claims(**values))
    failure = await run.failing(DriverType.CONTAINER, "createpvc")
    row = await run.row(failure.partial.task_id)
    assert (row.state, row.end_time is not None) == (TaskState.FAILED, True)
    assert row.status_metadata is not None
    assert row.custom_properties[ATTEMPT_PROPERTY], "the message is added to what the row knows"
    assert text in (row.status_metadata.message or "")
    assert str(failure).startswith('task "createpvc": ')
    assert cluster.requests == []


async def test_an_empty_name_deletes_nothing(stack: Stack, cluster: Cluster) -> None:
    cluster.claims["shared"] = {"metadata": {"name": "shared"}}
    spec = claims(pvc_name="shared")
    spec["root"]["dag"]["tasks"]["deletepvc"]["inputs"]["parameters"]["pvc_name"] = constant("")
    run = await stack.start(spec)
    failure = await run.failing(DriverType.CONTAINER, "deletepvc")
    assert "failed to delete pvc: required parameter pvc_name not provided" in str(failure)
    assert cluster.requests == []
