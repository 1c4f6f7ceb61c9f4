"""Which store serves a URI, with which settings and credentials.

Oracle: the rules of spec LAUNCHER A19, the session parameters of PODSPEC 11.5, and the vectors of G.
"""

from collections.abc import Mapping
from pathlib import Path

import pytest

from kfp_api.session_info import SessionInfo
from launcher.configuration import ConfigurationReader
from launcher.errors import LauncherError
from launcher.stores.access import Stores
from launcher.stores.s3 import S3Store
from launcher.stores.s3_settings import S3Settings, s3_settings
from launcher.stores.uris import parse_object_uri

ENVIRONMENT = {
    "KFP_SECRET_MLPIPELINE_MINIO_ARTIFACT_ACCESSKEY": "ak",
    "KFP_SECRET_MLPIPELINE_MINIO_ARTIFACT_SECRETKEY": "sk",
    "KFP_SECRET_S_AK": "other-ak",
    "KFP_SECRET_S_SK": "other-sk",
}
PROVIDERS = """
s3:
  default:
    endpoint: store.local:9000
    region: eu
    disableSSL: true
    maxRetries: 3
    credentials: {fromEnv: false, secretRef: {secretName: s, accessKeyKey: ak, secretKeyKey: sk}}
  Overrides:
    - {bucketName: shared, keyPrefix: some/path, region: us, maxRetries: 7, credentials: {fromEnv: true}}
"""


def stores(
    directory: Path,
    *,
    root: str = "",
    providers: str = "",
    run_root: str = "",
    environment: Mapping[str, str] | None = None,
) -> Stores:
    """Stores of a task with a mounted launcher configuration."""
    config = directory / "config"
    config.mkdir()
    (config / "..data").mkdir()
    (config / "defaultPipelineRoot").write_text(f"{root}\n", encoding="utf-8")
    (config / "providers").write_text(providers, encoding="utf-8")
    given = {**ENVIRONMENT, "KFP_LAUNCHER_CONFIG_DIR": str(config), **(environment or {})}
    reader = ConfigurationReader(given, namespace="ns", kubernetes=None)
    return Stores(reader=reader, environment=given, run_root=run_root)


def found(opened: Stores, uri: str) -> S3Settings:
    store = opened.store(uri)
    assert isinstance(store, S3Store)
    return store._settings


@pytest.mark.parametrize(
    ("uri", "bucket", "key"),
    [
        ("s3://mlpipeline/v2/artifacts/", "mlpipeline", "v2/artifacts"),
        ("s3://b/p/my%20model", "b", "p/my model"),
        ("minio://b/p/f?endpoint=x", "b", "p/f"),
        ("gs://b/a//b", "b", "a//b"),
    ],
)
def test_uri_is_taken_apart(uri: str, bucket: str, key: str) -> None:
    place = parse_object_uri(uri)
    assert (place.bucket, place.key) == (bucket, key)


@pytest.mark.parametrize(
    "uri", ["s3://b/%3Fendpoint=x/f", "s3://b/p/100%c", "s3://b", "s3://b/", "mem://b/k", "ftp://b/k", "b/k"]
)
def test_uri_of_no_object_is_refused(uri: str) -> None:
    with pytest.raises(LauncherError, match=r'".*"'):
        parse_object_uri(uri)


def test_default_root_is_the_clusters_own_store(tmp_path: Path) -> None:
    opened = stores(tmp_path)
    expected = S3Settings(
        endpoint="http://seaweedfs.kubeflow:9000",
        region="minio",
        path_style=True,
        access_key="ak",
        secret_key="sk",
    )
    assert found(opened, "minio://mlpipeline/v2/artifacts/demo/r/train/model") == expected


def test_the_clusters_own_store_may_be_elsewhere(tmp_path: Path) -> None:
    place = {"OBJECT_STORE_HOST": "store", "OBJECT_STORE_PORT": "1"}
    opened = stores(tmp_path, environment=place)
    assert found(opened, "minio://mlpipeline/v2/artifacts/x/f").endpoint == "http://store:1"


def test_provider_settings_apply_below_the_default_root(tmp_path: Path) -> None:
    opened = stores(tmp_path, root="s3://team/root", providers=PROVIDERS)
    assert found(opened, "s3://team/root/a/b") == S3Settings(
        endpoint="http://store.local:9000",
        region="eu",
        path_style=True,
        attempts=3,
        access_key="other-ak",
        secret_key="other-sk",
    )


def test_override_has_its_own_number_of_attempts_and_drops_inherited_keys(tmp_path: Path) -> None:
    opened = stores(tmp_path, root="s3://team/root", providers=PROVIDERS)
    settings = found(opened, "s3://shared/some/path/x")
    assert (settings.region, settings.attempts, settings.access_key) == ("us", 7, "")


@pytest.mark.parametrize(
    "uri",
    ["s3://team/roots/a", "s3://team/other/a", "s3://shared/some/pathology/x", "minio://team/root/a"],
)
def test_default_credentials_are_not_for_other_places(uri: str, tmp_path: Path) -> None:
    opened = stores(tmp_path, root="s3://team/root", providers=PROVIDERS)
    with pytest.raises(LauncherError, match="outside the configured pipeline root and has no explicit"):
        opened.store(uri)


def test_the_runs_own_root_is_accepted(tmp_path: Path) -> None:
    opened = stores(tmp_path, root="s3://team/root", providers=PROVIDERS, run_root="s3://mine/here")
    assert found(opened, "s3://mine/here/demo/r/m").endpoint == "http://store.local:9000"


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("root", ["s3://team/my%20root", "s3://team/my root"])
def test_root_may_have_escapes(root: str, own: bool, tmp_path: Path) -> None:
    opened = stores(tmp_path, run_root=root) if own else stores(tmp_path, root=root)
    assert found(opened, "s3://team/my%20root/a/b") == S3Settings()
    with pytest.raises(LauncherError, match="outside the configured pipeline root"):
        opened.store("s3://team/my%20roots/a")


@pytest.mark.parametrize("own", [False, True])
def test_query_of_the_root_is_inherited_by_its_artifacts(own: bool, tmp_path: Path) -> None:
    root = "s3://team/root?endpoint=minio:9000&region=r&disable_https=true&use_path_style=true"
    opened = stores(tmp_path, run_root=root) if own else stores(tmp_path, root=root)
    assert found(opened, "s3://team/root/a") == S3Settings(
        endpoint="http://minio:9000", region="r", path_style=True
    )


def test_without_settings_it_is_aws_with_the_ambient_chain(tmp_path: Path) -> None:
    assert found(stores(tmp_path, root="s3://team/root"), "s3://team/root/a") == S3Settings()


@pytest.mark.parametrize(
    ("endpoint", "plain", "url"),
    [
        ("s3.amazonaws.com", "false", None),
        ("https://s3.amazonaws.com:443/x", "false", None),
        ("store:9000", "false", "https://store:9000"),
        ("store:9000", "true", "http://store:9000"),
        ("http://store:9000", "false", "http://store:9000"),
        ("", "false", None),
    ],
)
def test_endpoint_gets_a_scheme_and_aws_is_left_to_boto3(endpoint: str, plain: str, url: str | None) -> None:
    session = SessionInfo("s3", {"fromEnv": "true", "endpoint": endpoint, "disableSSL": plain})
    assert s3_settings(session, query="", secret=lambda name, key: name + key).endpoint == url


@pytest.mark.parametrize(
    ("providers", "text"),
    [
        ("s3: {default: {}}", "missing default credentials"),
        ("s3: {default: {credentials: {fromEnv: false}}}", "missing default secretref"),
        ("s3: [", "invalid provider config"),
        (
            "s3: {default: {maxRetries: many, credentials: {fromEnv: true}}}",
            'maxRetries "many" is not a number',
        ),
        (
            "s3: {default: {credentials: {secretRef: {secretName: t, accessKeyKey: a, secretKeyKey: b}}}}",
            'Secret "t" has no key "a": neither in KFP_SECRETS_DIR nor as KFP_SECRET_T_A',
        ),
    ],
)
def test_wrong_configuration_is_said(providers: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match=text):
        stores(tmp_path, root="s3://team/root", providers=providers).store("s3://team/root/a")


def test_google_cloud_storage_is_reached_through_its_s3_endpoint(tmp_path: Path) -> None:
    assert found(stores(tmp_path, root="gs://team/root"), "gs://team/root/a") == S3Settings(
        endpoint="https://storage.googleapis.com", region="auto", path_style=True
    )


def test_service_account_tokens_are_refused_with_the_way_out(tmp_path: Path) -> None:
    providers = "gs: {default: {credentials: {secretRef: {secretName: g, tokenKey: t}}}}"
    with pytest.raises(LauncherError, match="does not support: use an HMAC key"):
        stores(tmp_path, root="gs://team/root", providers=providers).store("gs://team/root/a")


def test_missing_credentials_are_found_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    opened = stores(tmp_path, root="s3://team/root")
    with pytest.raises(LauncherError, match=r"no credentials for AWS S3: set AWS_ACCESS_KEY_ID"):
        opened.check(["s3://team/root/a", "/data/x"])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    opened.check(["s3://team/root/a", "/data/x"])


def test_one_store_serves_all_places_with_the_same_settings(tmp_path: Path) -> None:
    opened = stores(tmp_path, root="s3://team/root")
    assert opened.store("s3://team/root/a") is opened.store("s3://team/root/deep/b")
    opened.close()
