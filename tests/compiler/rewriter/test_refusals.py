"""What is not rewritten, and how the user learns why: all or nothing.

Oracle: the tables of spec COMPILER 11.2 and 11.4, messages included; the flag sets of KFP's releases.
"""

from collections.abc import Callable
from copy import deepcopy

import pytest

from compiler.rewriter.errors import Refusal, RewriteRefused
from compiler.rewriter.rewrite import RewriteOptions, rewrite
from tests.compiler.pipelines import Json, templates
from tests.compiler.rewriter.workflows import (
    CONTAINER_DRIVER,
    DAG_DRIVER,
    INLINE,
    call_arguments,
    driver_arguments,
    driver_pods,
)

MLMD_2_0 = ["component", "task", "container", "dag_execution_id", "execution_id_path"]
MLMD_2_15 = [*MLMD_2_0, "mlmd_server_address", "mlmd_server_port"]


def refusal(workflow: Json, options: RewriteOptions | None = None) -> RewriteRefused:
    before = deepcopy(workflow)
    with pytest.raises(RewriteRefused) as caught:
        rewrite(workflow, options or RewriteOptions())
    assert workflow == before
    assert "\n" not in str(caught.value)
    assert str(caught.value) == f"{caught.value.code}: {caught.value.message}"
    return caught.value


def with_flags(*flags: str, without: tuple[str, ...] = (), template: str = CONTAINER_DRIVER) -> Json:
    workflow = driver_pods()
    arguments = driver_arguments(workflow, template)
    for flag in without:
        index = next(number for number, one in enumerate(arguments) if one.startswith(f"--{flag}"))
        del arguments[index : index + (1 if "=" in arguments[index] else 2)]
    arguments += flags
    return workflow


@pytest.mark.parametrize("flags", [MLMD_2_0, MLMD_2_15], ids=["2.0", "2.15"])
@pytest.mark.parametrize("template", [CONTAINER_DRIVER, DAG_DRIVER])
def test_mlmd_drivers_are_refused_and_the_flags_named(flags: list[str], template: str) -> None:
    added = [item for flag in flags for item in (f"--{flag}", "x")]
    error = refusal(with_flags(*added, without=("parent_task_id", "task_name"), template=template))
    named = ", ".join(f"--{flag}" for flag in flags if flag not in {"component", "task", "container"})
    assert error.code is Refusal.MLMD
    assert error.message == (
        f'template "{template}" calls an ML Metadata driver (flags: {named}): it was compiled by a Kubeflow '
        "Pipelines backend without the native task API. The central driver cannot execute it; recompile the "
        "run with a native-API backend or leave it on driver pods."
    )


def test_one_mlmd_driver_beside_a_native_one_leaves_both() -> None:
    workflow = with_flags("--dag_execution_id", "1", template=DAG_DRIVER)
    assert refusal(workflow).code is Refusal.MLMD
    assert refusal(workflow, RewriteOptions(lenient=True)).code is Refusal.MLMD


def test_plugin_templates_of_the_mlmd_dialect_are_refused() -> None:
    workflow = rewrite(driver_pods(), RewriteOptions()).obj
    arguments = call_arguments(workflow, DAG_DRIVER)
    del arguments["parent_task_id"]
    assert refusal(workflow).message == (
        f'template "{DAG_DRIVER}" is a driver-plugin template without the argument parent_task_id.'
    )
    arguments["dag_execution_id"] = "1"
    error = refusal(workflow)
    assert error.code is Refusal.PLUGIN_MLMD
    assert error.message == (
        f'template "{DAG_DRIVER}" is a driver-plugin template of the ML Metadata dialect (argument '
        "dag_execution_id); it cannot be converted because component and task specs are embedded in the "
        "workflow."
    )


@pytest.mark.parametrize("flag", ["component", "task", "container"])
def test_hybrid_dialect_is_refused(flag: str) -> None:
    error = refusal(with_flags(f"--{flag}", "{}"))
    assert error.code is Refusal.HYBRID
    assert error.message == (
        f'template "{CONTAINER_DRIVER}" mixes --parent_task_id with embedded specs (--component/--task/'
        "--container); this intermediate dialect was never released and is not supported."
    )


def test_unknown_flags_are_refused_unless_lenient() -> None:
    workflow = with_flags("--future", "x", "--other=y")
    error = refusal(workflow)
    assert error.code is Refusal.UNKNOWN_FLAG
    assert error.message == (
        f'template "{CONTAINER_DRIVER}" passes driver flags this version does not know: --future, --other. '
        "Upgrade the rewriter or use --lenient to pass them through as plugin arguments."
    )
    arguments = call_arguments(rewrite(workflow, RewriteOptions(lenient=True)).obj)
    assert (arguments["future"], arguments["other"]) == ("x", "y")


def test_missing_flags_are_refused() -> None:
    error = refusal(with_flags(without=("run_id", "kubernetes_config", "cache_disabled")))
    assert error.code is Refusal.MISSING_FLAG
    assert error.message == (
        f'template "{CONTAINER_DRIVER}" lacks required driver flags: --run_id, --cache_disabled, '
        "--kubernetes_config."
    )


@pytest.mark.parametrize(
    ("added", "code"),
    [
        (["stray"], Refusal.STRAY_ARGUMENT),
        (["--type", "EXECUTOR"], Refusal.BAD_TYPE),
        (["--type", "{{workflow.name}}"], Refusal.BAD_TYPE),
        (["--cache_disabled=maybe"], Refusal.BAD_VALUE),
        (["--default_run_as_user", "me"], Refusal.BAD_VALUE),
        (["--default_run_as_user", "9223372036854775808"], Refusal.BAD_VALUE),
        (["--default_run_as_non_root", "perhaps"], Refusal.BAD_VALUE),
        (["--log_level"], Refusal.BAD_VALUE),
    ],
    ids=str,
)
def test_values_that_a_driver_would_not_take_are_refused(added: list[str], code: Refusal) -> None:
    assert refusal(with_flags(*added)).code is code


def test_environment_from_elsewhere_is_refused_unless_lenient() -> None:
    workflow = driver_pods()
    source = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    templates(workflow)[DAG_DRIVER]["container"]["env"].append(source)
    error = refusal(workflow)
    assert error.code is Refusal.UNSUPPORTED_ENV
    assert error.message == (
        f'template "{DAG_DRIVER}": environment variable "KEY" uses valueFrom and cannot be carried into '
        "plugin arguments."
    )
    result = rewrite(workflow, RewriteOptions(lenient=True))
    assert "runtime_args" not in call_arguments(result.obj, DAG_DRIVER)
    assert [str(one) for one in result.warnings] == [
        f'{DAG_DRIVER}: environment variable "KEY" uses valueFrom and is dropped'
    ]


def marked_by_annotation(template: Json) -> None:
    template["name"] = "renamed"
    template["metadata"]["labels"] = {}


def marked_by_label(template: Json) -> None:
    template["name"] = "renamed"
    template["metadata"]["annotations"] = {}


def marked_by_name(template: Json) -> None:
    template["metadata"] = {}


@pytest.mark.parametrize("mark", [marked_by_annotation, marked_by_label, marked_by_name])
def test_each_mark_makes_a_driver_and_each_without_a_drivers_flags_is_refused(
    mark: Callable[[Json], None],
) -> None:
    workflow = driver_pods()
    template = templates(workflow)[CONTAINER_DRIVER]
    mark(template)
    assert rewrite(workflow, RewriteOptions()).templates == (template["name"], DAG_DRIVER)
    template["container"]["args"] = ["--port", "80"]
    assert refusal(workflow).code is Refusal.UNRECOGNIZED_DRIVER


def test_a_users_container_with_such_flags_is_left_and_reported() -> None:
    workflow = driver_pods()
    template = templates(workflow)[CONTAINER_DRIVER]
    template["name"] = "mine"
    template["metadata"] = {}
    result = rewrite(workflow, RewriteOptions())
    assert result.templates == (DAG_DRIVER,)
    assert templates(result.obj)["mine"] == template
    assert [str(one) for one in result.warnings] == [
        "mine: has a driver's flags but is not marked as one: left as it is"
    ]


def test_a_driver_with_other_outputs_is_refused() -> None:
    workflow = driver_pods()
    templates(workflow)[DAG_DRIVER]["outputs"]["parameters"].pop()
    error = refusal(workflow)
    assert error.code is Refusal.UNRECOGNIZED_DRIVER
    assert "parent-dag-task-id-path, iteration-count; a driver has" in error.message


def test_a_pod_spec_patch_that_cannot_be_completed_is_refused() -> None:
    workflow = driver_pods()
    workflow["spec"]["podSpecPatch"] = "{{workflow.parameters.patch}}"
    assert refusal(workflow, RewriteOptions(plugin=INLINE)).code is Refusal.POD_SPEC_PATCH
