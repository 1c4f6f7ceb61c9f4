"""Compiler options from the environment.

Oracle: the table of spec COMPILER 2.3.
"""

import pytest

from compiler.errors import OptionsError
from compiler.options import CompilerOptions


def test_empty_environment_gives_the_defaults() -> None:
    assert CompilerOptions.from_environ({}) == CompilerOptions()


def test_every_variable_reaches_its_option() -> None:
    options = CompilerOptions.from_environ(
        {
            "V2_LAUNCHER_IMAGE": "registry/launcher:1",
            "V2_LAUNCHER_COMMAND": "/bin/launch --x",
            "V2_DRIVER_IMAGE": "registry/driver:1",
            "V2_DRIVER_COMMAND": "/bin/drive",
            "CacheEnabled": "false",
            "PIPELINE_RUN_AS_USER": "1001",
            "PIPELINE_LOG_LEVEL": "",
            "PUBLISH_LOGS": "",
            "DEFAULTPIPELINERUNNERSERVICEACCOUNT": "runner",
            "ML_PIPELINE_SERVICE_NAME": "api",
            "POD_NAMESPACE": "ml",
            "CLUSTER_DOMAIN": "cluster.test",
            "HTTP_PROXY": "http://proxy",
            "CABUNDLE_SECRET_NAME": "ca",
            "CABUNDLE_CONFIGMAP_NAME": "ca-map",
            "CABUNDLE_KEY_NAME": "bundle",
            "ML_PIPELINE_GRPC_BACKOFF_JITTER": "0.2",
            "ML_PIPELINE_GRPC_BACKOFF_MAX_DELAY": "",
            "DEFAULT_SECURITY_CONTEXT_RUN_AS_USER": "0",
            "DEFAULT_SECURITY_CONTEXT_RUN_AS_GROUP": "5",
            "DEFAULT_SECURITY_CONTEXT_RUN_AS_NON_ROOT": "False",
            "DEFAULT_SECURITY_CONTEXT_HOST_USERS": "1",
            "TOKEN_REVIEW_AUDIENCE": "audience",
            "DRIVER_POD_LABELS": '{"team": "a", "pipelines.kubeflow.org/pod-role": "x"}',
            "DRIVER_POD_ANNOTATIONS": '{"example.com/note": "any text at all"}',
            "COMPILED_PIPELINE_SPEC_PATCH": "{}",
        }
    )
    assert options == CompilerOptions(
        launcher_image="registry/launcher:1",
        launcher_command=("/bin/launch", "--x"),
        driver_image="registry/driver:1",
        driver_command=("/bin/drive",),
        cache_disabled=True,
        run_as_user=1001,
        log_level="",
        publish_logs="",
        service_account="runner",
        server_address="api.ml.svc.cluster.test",
        cluster_domain="cluster.test",
        http_proxy="http://proxy",
        ca_secret="ca",
        ca_configmap="ca-map",
        ca_key="bundle",
        grpc_backoff={"ML_PIPELINE_GRPC_BACKOFF_JITTER": "0.2"},
        default_run_as_user=0,
        default_run_as_group=5,
        default_run_as_non_root=False,
        default_host_users=True,
        token_audience="audience",
        driver_pod_labels={"team": "a"},
        driver_pod_annotations={"example.com/note": "any text at all"},
        spec_patch="{}",
    )
    assert ".svc.cluster.test" in options.effective_no_proxy.split(",")


@pytest.mark.parametrize("value", ["root", "1.5", "99999999999999999999", ""])
def test_unusable_run_as_user_is_ignored(value: str) -> None:
    assert CompilerOptions.from_environ({"PIPELINE_RUN_AS_USER": value}).run_as_user is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEFAULT_SECURITY_CONTEXT_RUN_AS_USER", "root"),
        ("DEFAULT_SECURITY_CONTEXT_HOST_USERS", "maybe"),
        ("CacheEnabled", "on"),
        ("DRIVER_POD_LABELS", "team=a"),
        ("DRIVER_POD_LABELS", "[]"),
        ("DRIVER_POD_LABELS", '{"team": true}'),
        ("DRIVER_POD_LABELS", '{"team": "no spaces"}'),
        ("DRIVER_POD_LABELS", '{"-team": "a"}'),
        ("DRIVER_POD_ANNOTATIONS", '{"Example.com/x": "a"}'),
    ],
)
def test_unusable_value_names_its_variable(name: str, value: str) -> None:
    with pytest.raises(OptionsError, match=f"^{name}: "):
        CompilerOptions.from_environ({name: value})


def test_no_proxy_is_left_alone_without_a_proxy() -> None:
    assert CompilerOptions(no_proxy="a, b").effective_no_proxy == "a, b"
