"""Settings from the environment. Oracle: the table of spec DEPLOY 4."""

import pytest

from driver_plugin.errors import ConfigurationError
from driver_plugin.settings import Settings, document_settings, parse_duration

DEPLOY_TABLE = {
    "KFP_API_URL": "http://ml-pipeline.kubeflow:8888",
    "KFP_API_ADDRESS": "ml-pipeline.kubeflow.svc.cluster.local",
    "KFP_API_PORT": "8887",
    "KFP_API_TLS": "false",
    "KFP_CA_FILE": "unset",
    "KFP_CA_PEM": "unset",
    "KFP_TOKEN_PATH": "/var/run/secrets/kfp/token",
    "KFP_BASE_TOKEN_PATH": "/var/run/secrets/kfp/base-token",
    "KFP_TOKEN_MODE": "run",
    "KFP_TOKEN_AUDIENCE_BASE": "pipelines.kubeflow.org",
    "KFP_RUN_ID": "unset",
    "NAMESPACE": "unset",
    "KFP_POD_NAME": "unset",
    "KFP_POD_UID": "unset",
    "KFP_DRIVER_PORT": "10790",
    "KFP_DRIVER_HEALTH_PORT": "10791",
    "KFP_DRIVER_CALLER_AUTH": "agent-token",
    "KFP_DRIVER_TLS_CERT_FILE": "unset",
    "KFP_DRIVER_TLS_KEY_FILE": "unset",
    "KFP_DRIVER_AGENT_TOKEN_FILE": "/var/run/argo/token",
    "KFP_DRIVER_ALLOWED_API_HOSTS": "unset",
    "KFP_DRIVER_PLUGIN_HOSTS": "unset",
    "MLFLOW_TRACKING_TOKEN": "unset",
    "MLFLOW_TRACKING_USERNAME": "unset",
    "MLFLOW_TRACKING_PASSWORD": "unset",
    "KFP_LAUNCHER_CONFIG_DIR": "/etc/kfp/launcher-config",
    "KFP_DRIVER_LOG_ROOT": "unset",
    "KFP_DRIVER_LOG_LEVEL": "INFO",
    "KFP_DRIVER_LOG_UPLOAD": "true",
    "KFP_DRIVER_LOG_UPLOAD_WAIT": "3s",
    "KFP_DRIVER_S3_ACCESS_KEY": "unset",
    "KFP_DRIVER_S3_SECRET_KEY": "unset",
    "HTTP_PROXY": "unset",
    "HTTPS_PROXY": "unset",
    "NO_PROXY": "unset",
    "KFP_DRIVER_CENTRAL_URL": "unset",
    "KFP_DRIVER_MAX_CONCURRENCY": "16",
    "KFP_DRIVER_MAX_PER_NAMESPACE": "unset",
    "KFP_DRIVER_OUTAGE_BUDGET": "10m",
    "KFP_DRIVER_CACHE_LOOKUP_OPTIONAL": "false",
    "KFP_DRIVER_MAX_ITERATIONS": "10000",
    "KFP_DRIVER_MAX_EXECUTOR_INPUT": "122880",
    "KFP_DRIVER_PVC_STORAGE_CLASS": "standard",
    "KFP_WORKSPACE_PATH": "/kfp-workspace",
    "CLUSTER_DOMAIN": "cluster.local",
    "OBJECT_STORE_HOST": "unset",
    "OBJECT_STORE_PORT": "unset",
}


def test_every_variable_of_the_table_has_its_default_and_an_explanation() -> None:
    documented = document_settings()

    assert {setting.variable: setting.default for setting in documented} == DEPLOY_TABLE
    assert [setting.variable for setting in documented if not setting.text] == []


def test_an_empty_variable_counts_as_unset() -> None:
    assert Settings.from_environ(dict.fromkeys(DEPLOY_TABLE, "")) == Settings.from_environ({})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3s", 3.0), ("10m", 600.0), ("1h30m", 5400.0), ("1500ms", 1.5), ("0", 0.0), ("0.5s", 0.5)],
)
def test_a_duration_is_read_as_go_reads_it(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("KFP_DRIVER_LOG_UPLOAD_WAIT", "3"),
        ("KFP_DRIVER_OUTAGE_BUDGET", "ten minutes"),
        ("KFP_DRIVER_OUTAGE_BUDGET", "-1s"),
        ("KFP_DRIVER_PORT", "http"),
        ("KFP_DRIVER_PORT", "65536"),
        ("KFP_DRIVER_MAX_CONCURRENCY", "0"),
        ("KFP_DRIVER_LOG_LEVEL", "LOUD"),
        ("KFP_DRIVER_LOG_UPLOAD", "yes"),
        ("KFP_TOKEN_MODE", "mine"),
        ("KFP_API_URL", "ml-pipeline:8888"),
        ("KFP_API_URL", "http://user:hunter2@ml-pipeline"),
        ("KFP_DRIVER_LOG_ROOT", "logs"),
        ("KFP_DRIVER_LOG_ROOT", "gs://bucket/logs"),
        ("KFP_DRIVER_CALLER_AUTH", "none"),
    ],
)
def test_a_value_that_cannot_be_used_names_its_variable_on_one_line_and_exits_78(
    variable: str, value: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_environ({variable: value})

    text = str(caught.value)
    assert text.startswith(variable)
    assert "\n" not in text
    assert "hunter2" not in text
    assert caught.value.exit_code == 78


def test_token_review_without_a_certificate_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="KFP_DRIVER_TLS_CERT_FILE"):
        Settings.from_environ({"KFP_DRIVER_CALLER_AUTH": "token-review"})


def test_a_credential_goes_only_to_the_api_host_unless_others_are_listed() -> None:
    assert Settings.from_environ({"KFP_API_URL": "https://api.example:9000"}).credential_hosts == (
        "api.example",
    )
    listed = Settings.from_environ({"KFP_DRIVER_ALLOWED_API_HOSTS": "a.example, b.example"})
    assert listed.credential_hosts == ("a.example", "b.example")


def test_secrets_are_not_part_of_the_settings_text() -> None:
    settings = Settings.from_environ({"KFP_DRIVER_S3_SECRET_KEY": "hunter2"})

    assert "hunter2" not in repr(settings)
    assert settings.s3_secret_key.get_secret_value() == "hunter2"


def test_the_audience_of_a_run_follows_the_base() -> None:
    settings = Settings.from_environ({"KFP_TOKEN_AUDIENCE_BASE": "pipelines.example"})

    assert settings.run_audience("run-1") == "pipelines.example/runs/run-1"
