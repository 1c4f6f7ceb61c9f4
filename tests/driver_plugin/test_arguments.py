"""Arguments of a driver call. Oracle: the tables and texts of spec DRIVER 1.2 and 15."""

from typing import Any

import orjson
import pytest

from driver_plugin.argo.arguments import DriverCall, DriverType, parse_driver_call
from driver_plugin.errors import ArgumentError, ForbiddenError
from driver_plugin.settings import Settings
from tests.driver_plugin.calls import PARENT, RUN_ID, WORKFLOW, container_args, dag_args, root_args, without

SETTINGS = Settings()


def parse(args: dict[str, Any], settings: Settings = SETTINGS) -> DriverCall:
    return parse_driver_call(args, workflow=WORKFLOW, settings=settings)


def refusal(args: dict[str, Any]) -> str:
    with pytest.raises(ArgumentError) as caught:
        parse(args)
    return str(caught.value)


def test_the_compiled_arguments_of_each_type_are_served_without_a_warning() -> None:
    calls = [parse(root_args()), parse(dag_args()), parse(container_args())]

    assert [call.type for call in calls] == list(DriverType)
    assert [call.warnings for call in calls] == [(), (), ()]
    assert calls[0].runtime_config == {"parameterValues": {"q": 'say "hi"'}}
    assert calls[1].runtime_config is None
    assert calls[2].kubernetes_config is None


@pytest.mark.parametrize(
    ("make", "name"),
    [
        *[(make, name) for make in (root_args, dag_args, container_args) for name in (
            "pipeline_name", "run_id", "run_name", "run_display_name", "parent_task_id", "task_name",
            "iteration_index",
        )],
        (root_args, "runtime_config"),
        (dag_args, "runtime_config"),
        (container_args, "kubernetes_config"),
    ],
)  # fmt: skip
def test_a_missing_required_key_is_named_with_the_type(make: Any, name: str) -> None:
    args = make()

    assert refusal(without(args, name)) == f"--{name} is required for {args['type']} but was not provided"


def test_the_first_missing_key_wins() -> None:
    assert refusal({"type": "DAG"}) == "--pipeline_name is required for DAG but was not provided"


@pytest.mark.parametrize(
    "name",
    ["http_proxy", "https_proxy", "no_proxy", "ca_cert_path", "log_level", "publish_logs", "cache_disabled",
     "ml_pipeline_server_address", "ml_pipeline_server_port", "ml_pipeline_tls_enabled", "namespace"],
)  # fmt: skip
def test_an_absent_key_with_a_default_is_not_required(name: str) -> None:
    assert parse(without(container_args(), name)) == parse(container_args())


def test_a_call_without_a_type_is_refused() -> None:
    assert "--type is required" in refusal(without(container_args(), "type"))


def test_an_unknown_type_lists_the_known_ones() -> None:
    text = refusal(container_args(type="IMPORTER"))

    assert text == 'unknown driver type "IMPORTER", must be one of ROOT_DAG, DAG, CONTAINER'


@pytest.mark.parametrize(
    ("value", "expected"),
    [(3, 3), (3.0, 3), ("3", 3), (" 3 ", 3), ("0", 0), (0, 0), ("-1", None), (-1, None)],
)
def test_an_integer_comes_natively_or_as_text(value: object, expected: int | None) -> None:
    assert parse(container_args(iteration_index=value)).iteration_index == expected


@pytest.mark.parametrize("value", [True, 3.5, "3.0", "three", "", [], {}, "0x3", "9" * 30, "-2"])
def test_what_is_no_integer_names_the_argument(value: object) -> None:
    assert refusal(container_args(iteration_index=value)).startswith('invalid iteration_index value "')


@pytest.mark.parametrize("value", [True, "1", "t", "T", "TRUE", "true", "True"])
def test_true_has_the_spellings_of_go(value: object) -> None:
    call = parse(container_args(cache_disabled=value, default_host_users=value))

    assert (call.cache_disabled, call.default_host_users) == (True, True)


@pytest.mark.parametrize("value", [False, "0", "f", "F", "FALSE", "false", "False"])
def test_false_has_the_spellings_of_go(value: object) -> None:
    call = parse(container_args(cache_disabled=value, default_run_as_non_root=value))

    assert (call.cache_disabled, call.default_run_as_non_root) == (False, False)


@pytest.mark.parametrize("value", ["yes", "TrUe", 1, [], "on"])
def test_what_is_no_boolean_names_the_argument(value: object) -> None:
    assert refusal(container_args(cache_disabled=value)).startswith('invalid cache_disabled value "')


def test_an_empty_boolean_is_its_default() -> None:
    call = parse(container_args(cache_disabled="", default_run_as_non_root="", default_host_users=None))

    assert (call.cache_disabled, call.default_run_as_non_root, call.default_host_users) == (False, None, None)


@pytest.mark.parametrize(
    ("value", "enabled"),
    [("true", True), (True, True), ("True", False), ("false", False), ("", False), (None, True)],
)
def test_only_the_exact_text_true_publishes_logs(value: object, enabled: bool) -> None:
    assert parse(container_args(publish_logs=value)).publish_logs is enabled


@pytest.mark.parametrize(("value", "text"), [(3, "3"), (True, "true"), (1.5, "1.5"), ("x", "x")])
def test_a_string_takes_numbers_and_booleans_in_json_spelling(value: object, text: str) -> None:
    assert parse(container_args(run_display_name=value)).run_display_name == text


@pytest.mark.parametrize("value", [{"pullSecrets": []}, '{"pullSecrets": []}'])
def test_a_configuration_comes_as_an_object_or_as_its_text(value: object) -> None:
    assert parse(container_args(kubernetes_config=value)).kubernetes_config == {"pullSecrets": []}


@pytest.mark.parametrize("value", ["", None, "null"])
def test_an_empty_configuration_is_none(value: object) -> None:
    assert parse(container_args(kubernetes_config=value)).kubernetes_config is None


@pytest.mark.parametrize("value", ["[]", "{", "s3cret-text", 3, [], "3"])
def test_a_configuration_that_is_no_object_is_named_but_not_quoted(value: object) -> None:
    text = refusal(container_args(kubernetes_config=value))

    assert text.startswith("invalid kubernetes_config value: ")
    assert "s3cret" not in text


@pytest.mark.parametrize("as_text", [True, False])
def test_a_configuration_above_one_mebibyte_is_refused(as_text: bool) -> None:
    config: object = {"x": "y" * (1 << 20)}
    config = orjson.dumps(config).decode() if as_text else config

    assert "larger than 1048576 bytes" in refusal(container_args(kubernetes_config=config))


@pytest.mark.parametrize(("depth", "accepted"), [(63, True), (64, False), (2000, False)])
def test_a_configuration_nests_at_most_64_levels(depth: int, accepted: bool) -> None:
    config = '{"x":' + "[" * depth + "]" * depth + "}"

    if accepted:
        assert parse(container_args(kubernetes_config=config)).kubernetes_config is not None
    else:
        assert refusal(container_args(kubernetes_config=config)).startswith(
            "invalid kubernetes_config value: "
        )


@pytest.mark.parametrize("value", [{"A": "1"}, '{"A":"1"}'])
def test_runtime_args_are_a_map_of_strings(value: object) -> None:
    assert parse(container_args(runtime_args=value)).runtime_args == {"A": "1"}


@pytest.mark.parametrize("value", [{"A": 1}, '{"A": null}', "A=1"])
def test_runtime_args_of_another_shape_are_refused_without_their_values(value: object) -> None:
    text = refusal(container_args(runtime_args=value))

    assert text.startswith("invalid runtime_args value: ")
    assert "A" not in text.removeprefix("invalid runtime_args value: ")


@pytest.mark.parametrize("tag", ["{{inputs.parameters.x}}", "{{workflow.uid}}", "{{tasks.a.outputs.result}}"])
@pytest.mark.parametrize(
    "name",
    ["run_display_name", "iteration_index", "cache_disabled", "http_proxy", "namespace", "run_id", "run_name",
     "pipeline_name", "parent_task_id", "task_name", "type", "publish_logs", "log_level", "ca_cert_path",
     "ml_pipeline_server_address", "ml_pipeline_tls_enabled", "default_run_as_user", "default_host_users"],
)  # fmt: skip
def test_a_placeholder_that_argo_left_is_named(name: str, tag: str) -> None:
    assert refusal(container_args(**{name: tag})) == f"unresolved placeholder in argument {name}"


def test_placeholders_in_user_data_and_in_ignored_arguments_are_left_alone() -> None:
    config = {"parameterValues": {"x": "{{workflow.name}} {{$.inputs.parameters['y']}}"}}

    call = parse(dag_args(runtime_config=config, condition_path="{{outputs.parameters.condition.path}}"))

    assert call.runtime_config == config
    assert call.warnings == ()


@pytest.mark.parametrize("value", [-1, "-1", "", None])
def test_an_unset_user_id_is_none(value: object) -> None:
    call = parse(container_args(default_run_as_user=value, default_run_as_group=value))

    assert (call.default_run_as_user, call.default_run_as_group) == (None, None)


@pytest.mark.parametrize("value", [0, "0"])
def test_user_id_zero_is_a_user_id(value: object) -> None:
    assert parse(container_args(default_run_as_user=value)).default_run_as_user == 0


def test_metadata_store_arguments_are_ignored_with_one_warning_and_no_file_is_read() -> None:
    call = parse(container_args(component="@/etc/hostname", task="{", container="x", dag_execution_id="7"))

    assert len(call.warnings) == 1
    assert "component, container, dag_execution_id, task" in call.warnings[0]
    assert "/etc/hostname" not in call.warnings[0]


def test_unknown_arguments_are_reported_by_name_only() -> None:
    call = parse(container_args(shoe_size="43-secret"))

    assert call.warnings == ("unknown arguments; ignored: shoe_size",)


def test_an_attackers_address_is_ignored_with_one_warning() -> None:
    call = parse(
        container_args(
            ml_pipeline_server_address="evil.example",
            ml_pipeline_server_port="1",
            ml_pipeline_tls_enabled="true",
        )
    )

    (warning,) = call.warnings
    assert warning == (
        "arguments differ from this service's launcher endpoint; ignored: "
        "ml_pipeline_server_address, ml_pipeline_server_port, ml_pipeline_tls_enabled"
    )
    assert "evil" not in repr(call)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ml_pipeline_server_address", "ml-pipeline"),
        ("ml_pipeline_server_port", 9999),
        ("ml_pipeline_tls_enabled", "t"),
    ],
)
def test_each_part_of_the_launcher_endpoint_is_compared_with_the_settings(name: str, value: object) -> None:
    changed = container_args(**{name: value})

    assert parse(changed).warnings[0].endswith(f"ignored: {name}")


def test_a_launcher_endpoint_equal_to_the_settings_is_no_reason_to_warn() -> None:
    settings = Settings.from_environ(
        {"KFP_API_ADDRESS": "api.example", "KFP_API_PORT": "8888", "KFP_API_TLS": "true"}
    )
    same = container_args(
        ml_pipeline_server_address="api.example",
        ml_pipeline_server_port=8888,
        ml_pipeline_tls_enabled="true",
    )

    assert parse(same, settings).warnings == ()


@pytest.mark.parametrize(
    ("path", "kept", "warnings"),
    [("", "", 0), ("/kfp/certs/ca.crt", "/kfp/certs/ca.crt", 0), ("/etc/passwd", "", 1)],
)
def test_only_the_compilers_ca_path_reaches_the_launcher(path: str, kept: str, warnings: int) -> None:
    call = parse(container_args(ca_cert_path=path))

    assert (call.ca_cert_path, len(call.warnings)) == (kept, warnings)


@pytest.mark.parametrize("name", ["a/b", "..", "a..b", "a\nb", "a\x1bb", "a\x00"])
def test_a_task_name_with_path_parts_or_control_characters_is_refused(name: str) -> None:
    assert refusal(container_args(task_name=name)).startswith("invalid task_name value")


@pytest.mark.parametrize("name", ["..", "namespace/../pipeline/x", "a\nb"])
def test_a_pipeline_name_that_climbs_is_refused(name: str) -> None:
    assert refusal(container_args(pipeline_name=name)).startswith("invalid pipeline_name value")


def test_a_pipeline_name_may_be_namespaced() -> None:
    name = "namespace/team-a/pipeline/demo..v2"

    assert parse(container_args(pipeline_name=name)).pipeline_name == name


@pytest.mark.parametrize("value", ["../x", "a/b", "x" * 65, "a b"])
@pytest.mark.parametrize("name", ["run_id", "parent_task_id"])
def test_an_id_that_is_not_uuid_like_is_refused(name: str, value: str) -> None:
    assert refusal(container_args(**{name: value})).startswith(f"invalid {name} value")


def test_version_1_is_the_same_as_none_and_another_names_both() -> None:
    assert parse(container_args(args_version="1")) == parse(container_args())
    assert (
        refusal(container_args(args_version="2")) == 'unknown args_version "2": this service speaks version 1'
    )


def test_the_audience_must_be_this_runs() -> None:
    audience = f"pipelines.kubeflow.org/runs/{RUN_ID}"

    assert parse(container_args(kfp_token_audience=audience)).warnings == ()
    assert "kfp_token_audience" in refusal(
        container_args(kfp_token_audience="pipelines.kubeflow.org/runs/other")
    )


@pytest.mark.parametrize(
    ("args", "settings", "text"),
    [
        (container_args(namespace="team-b"), SETTINGS, "namespace mismatch"),
        (container_args(), Settings.from_environ({"NAMESPACE": "team-b"}), "namespace mismatch"),
        (container_args(), Settings.from_environ({"KFP_RUN_ID": "another"}), "run mismatch"),
        (container_args(run_name="other"), SETTINGS, "workflow mismatch"),
        (
            {"type": "CONTAINER", "run_id": "x"},
            Settings.from_environ({"KFP_RUN_ID": "another"}),
            "run mismatch",
        ),
    ],
)
def test_a_call_of_another_namespace_run_or_workflow_is_forbidden_before_anything_else(
    args: dict[str, Any], settings: Settings, text: str
) -> None:
    with pytest.raises(ForbiddenError, match=text):
        parse(args, settings)


def test_a_call_of_the_bound_run_and_namespace_is_served() -> None:
    call = parse(container_args(), Settings.from_environ({"KFP_RUN_ID": RUN_ID, "NAMESPACE": "team-a"}))

    assert (call.run_id, call.namespace) == (RUN_ID, "team-a")


def test_the_key_of_a_call_is_what_identifies_its_delivery() -> None:
    call = parse(container_args(iteration_index="2"))

    assert call.key == (WORKFLOW.uid, RUN_ID, "CONTAINER", PARENT, "train", 2)
    assert parse(container_args(iteration_index=2.0, run_display_name="x")).key == call.key
    assert parse(container_args(iteration_index="0")).key != parse(container_args()).key
