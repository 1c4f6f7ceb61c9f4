"""Session parameters of object stores: rules and checklist of spec PODSPEC 11.3 to 11.5."""

from typing import Any

import pytest

from kfp_api.session_info import (
    BucketPath,
    S3Connection,
    SessionInfo,
    SessionInfoError,
    is_within_configured_stores,
    parse_bucket_path,
    read_providers,
    s3_connection,
    session_info,
)

SECRET = {"secretRef": {"secretName": "s", "accessKeyKey": "ak", "secretKeyKey": "sk"}}
FROM_SECRET = {"fromEnv": "false", "secretName": "s", "accessKeyKey": "ak", "secretKeyKey": "sk"}
CONNECTION = {
    "endpoint": "s3.amazonaws.com",
    "region": "us-east-1",
    "disableSSL": "false",
    "forcePathStyle": "true",
    "maxRetries": "5",
}
DEFAULT = {"endpoint": "s3.amazonaws.com", "region": "us-east-1", "credentials": SECRET}
ENV = {"credentials": {"fromEnv": True}}


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        ("s3://b", BucketPath("s3", "b")),
        ("s3://b/", BucketPath("s3", "b")),
        ("minio:///b/a/c", BucketPath("minio", "b", "a/c/")),
        ("gs://b/a/?x=1", BucketPath("gs", "b", "a/", "x=1")),
    ],
)
def test_root_is_taken_apart(root: str, expected: BucketPath) -> None:
    assert parse_bucket_path(root) == expected


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("no scheme", "unrecognized pipeline root format"),
        ("s3://b/a%3fb", "unrecognized pipeline root format"),
        ("s3://b/a%23", "unrecognized pipeline root format"),
        ("mem://b/a", "unsupported Cloud bucket"),
        ("ftp://b", "unsupported Cloud bucket"),
    ],
)
def test_root_of_no_known_store_is_refused(root: str, message: str) -> None:
    with pytest.raises(SessionInfoError, match=message):
        parse_bucket_path(root)


@pytest.mark.parametrize(
    ("root", "providers", "params"),
    [
        ("s3://b", {}, {"fromEnv": "true"}),
        ("s3://b", {"s3": {}}, {"fromEnv": "true"}),
        ("s3://b?region=eu", {"s3": {"default": DEFAULT}}, {"fromEnv": "true"}),
        ("minio://b?endpoint=x", {}, {"fromEnv": "true"}),
        ("s3://b", {"s3": {"default": DEFAULT}}, CONNECTION | FROM_SECRET),
        (
            "s3://b",
            {"s3": {"Default": {"ForcePathStyle": False, "maxRetries": 2, "disableSSL": True} | ENV}},
            {
                "endpoint": "",
                "region": "",
                "disableSSL": "true",
                "forcePathStyle": "false",
                "maxRetries": "2",
                "fromEnv": "true",
            },
        ),
        (
            "s3://b2/team/a/x",
            {
                "s3": {
                    "default": DEFAULT,
                    "Overrides": [
                        {"bucketName": "other"} | ENV,
                        {"bucketName": "b2", "keyPrefix": "/team/a/", "region": "eu", "maxRetries": 9} | ENV,
                        {"bucketName": "b2", "region": "late"} | ENV,
                    ],
                }
            },
            CONNECTION | {"region": "eu", "maxRetries": "9", "fromEnv": "true"},
        ),
        (
            "s3://b2/x",
            {"s3": {"default": ENV, "overrides": [{"bucketName": "b2", "credentials": SECRET}]}},
            CONNECTION | {"endpoint": "", "region": ""} | FROM_SECRET,
        ),
        (
            "s3://b2/allowed-other/x",
            {"s3": {"default": DEFAULT, "overrides": [{"bucketName": "b2", "keyPrefix": "allowed"} | ENV]}},
            CONNECTION | FROM_SECRET,
        ),
        ("gs://b?x=1", {}, {"fromEnv": "true"}),
        (
            "gs://b?x=1",
            {"gs": {"default": {"credentials": {"secretRef": {"secretName": "g", "tokenKey": "t"}}}}},
            {"fromEnv": "false", "secretName": "g", "tokenKey": "t"},
        ),
    ],
)
def test_parameters_when_configured(root: str, providers: dict[str, Any], params: dict[str, str]) -> None:
    info = session_info(root, providers)
    assert info is not None
    assert info.to_json() == {"Provider": root.partition(":")[0], "Params": params}


@pytest.mark.parametrize(("given", "endpoint"), [("", "seaweedfs.kubeflow:9000"), ("store:1", "store:1")])
def test_minio_without_configuration_is_the_one_of_kubeflow(given: str, endpoint: str) -> None:
    info = session_info("minio://mlpipeline/v2", {}, object_store=given)
    assert info is not None
    assert info.params == {
        "region": "minio",
        "endpoint": endpoint,
        "disableSSL": "true",
        "fromEnv": "false",
        "maxRetries": "5",
        "secretName": "mlpipeline-minio-artifact",
        "accessKeyKey": "accesskey",
        "secretKeyKey": "secretkey",
    }


@pytest.mark.parametrize(
    ("root", "providers", "message"),
    [
        ("s3://b", {"s3": {"overrides": []}}, "missing default credentials"),
        ("minio://b", {"minio": {"overrides": []}}, "missing default credentials"),
        ("s3://b", {"s3": {"default": {}}}, "missing default credentials"),
        ("s3://b", {"s3": {"default": {"credentials": {"fromEnv": False}}}}, "missing default secretref"),
        (
            "s3://b",
            {"s3": {"default": ENV, "overrides": [{"bucketName": "b"}]}},
            "missing override credentials",
        ),
        (
            "s3://b",
            {"s3": {"default": ENV, "overrides": [{"bucketName": "b", "credentials": {}}]}},
            "missing override secretref",
        ),
        (
            "gs://b",
            {"gs": {"default": ENV, "overrides": [{"bucketName": "b"}]}},
            "missing override secretref",
        ),
        ("s3://b", {"s3": []}, "s3 is not an object"),
    ],
)
def test_incomplete_configuration_is_refused(root: str, providers: dict[str, Any], message: str) -> None:
    with pytest.raises(SessionInfoError, match=message):
        session_info(root, providers)


def test_directory_needs_no_session() -> None:
    assert session_info("/data/artifacts", {}) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("# nothing\n", {}),
        ("s3: {default: {}}", {"s3": {"default": {}}}),
        ('{"gs": {}}', {"gs": {}}),
    ],
)
def test_providers_are_yaml_or_json(text: str, expected: dict[str, Any]) -> None:
    assert read_providers(text) == expected


@pytest.mark.parametrize("text", ["[", "- a", "plain"])
def test_providers_that_are_no_object_are_refused(text: str) -> None:
    with pytest.raises(SessionInfoError, match="invalid provider config"):
        read_providers(text)


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        ("minio://mlpipeline/v2/artifacts", True),
        ("minio://mlpipeline/v2/artifacts/team?region=eu", True),
        ("minio://mlpipeline/v2/artifacts-other", False),
        ("minio://mlpipeline/v2", False),
        ("s3://mlpipeline/v2/artifacts", False),
        ("s3://b2/team/a/x", True),
        ("s3://b2/team/ab", False),
        ("/data/artifacts", True),
    ],
)
def test_launcher_writes_below_the_default_root_and_into_overridden_buckets_only(
    root: str, expected: bool
) -> None:
    override = {"bucketName": "b2", "keyPrefix": "team/a", "credentials": {"fromEnv": True}}
    providers = {"s3": {"default": DEFAULT, "overrides": [override]}}
    default_root = "minio://mlpipeline/v2/artifacts"
    assert is_within_configured_stores(root, providers, default_root=default_root) is expected


@pytest.mark.parametrize(
    ("params", "query", "expected"),
    [
        ({"fromEnv": "true"}, "", (None, None, False, 5)),
        ({"fromEnv": "true", "region": "eu"}, "", (None, "eu", True, 5)),
        ({"endpoint": "s3.amazonaws.com", "region": "us-east-1"}, "", (None, "us-east-1", True, 5)),
        ({"endpoint": "https://s3.amazonaws.com:443/"}, "", (None, None, True, 5)),
        ({"endpoint": "store:9000", "disableSSL": "true"}, "", ("http://store:9000", None, True, 5)),
        ({"endpoint": "store:9000", "disableSSL": "false"}, "", ("https://store:9000", None, True, 5)),
        ({"endpoint": "http://store:9000"}, "", ("http://store:9000", None, True, 5)),
        ({"forcePathStyle": "false", "maxRetries": "2", "region": ""}, "", (None, None, False, 2)),
        (
            {"fromEnv": "true"},
            "endpoint=store:1&disableSSL=true&region=eu&s3ForcePathStyle=false",
            ("http://store:1", "eu", False, 5),
        ),
        ({"fromEnv": "true"}, "region=eu", (None, "eu", False, 5)),
        ({"fromEnv": "true"}, "endpoint=store:1&region=eu", ("https://store:1", "eu", True, 5)),
        (
            {"fromEnv": "true"},
            "endpoint=store:1&disable_https=true&use_path_style=true",
            ("http://store:1", None, True, 5),
        ),
    ],
)
def test_connection_follows_the_session_parameters(
    params: dict[str, str], query: str, expected: tuple[Any, ...]
) -> None:
    endpoint, region, path_style, retries = expected
    assert s3_connection(SessionInfo("s3", params), query=query) == S3Connection(
        endpoint=endpoint, region=region, path_style=path_style, max_retries=retries
    )


def test_connection_with_retries_that_are_no_number_is_refused() -> None:
    with pytest.raises(SessionInfoError, match='maxRetries "many" is not a number'):
        s3_connection(SessionInfo("s3", {"maxRetries": "many"}))
