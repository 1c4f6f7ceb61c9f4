"""What administrator and cluster tell the launcher, and where it looks first.

Oracle: the order of sources of spec LAUNCHER A10 and A19; Kubernetes is an HTTP server that speaks the three
reads of its API.
"""

import base64
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from launcher.configuration import DEFAULT_PIPELINE_ROOT, ConfigurationReader
from launcher.errors import LauncherError
from launcher.flags import parse
from launcher.kubernetes import Kubernetes, KubernetesReadError
from launcher.retry_index import retry_index
from launcher.session import _url_of_flags, api_client


class Cluster:
    """Objects by path, and the answers that come before them."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.failures: list[int] = []
        self.tokens: list[str] = []

    def put(self, kind: str, name: str, **content: Any) -> None:
        self.objects[f"/api/v1/namespaces/ns/{kind}/{name}"] = content


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def kubernetes(cluster: Cluster, tmp_path: Path) -> Iterator[Kubernetes]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            cluster.tokens.append(self.headers["Authorization"])
            found = cluster.objects.get(self.path)
            status = cluster.failures.pop(0) if cluster.failures else 200 if found is not None else 404
            body = json.dumps(found or {}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Nothing is logged."""

    (tmp_path / "token").write_text("secret\n", encoding="ascii")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    yield Kubernetes(url, token_file=tmp_path / "token", pause_seconds=0.001)
    server.shutdown()
    thread.join()
    server.server_close()


def reader(kubernetes: Kubernetes | None, **environment: str) -> ConfigurationReader:
    given = {"KFP_LAUNCHER_CONFIG_DIR": "/nowhere", **environment}
    return ConfigurationReader(given, namespace="ns", kubernetes=kubernetes)


def test_mounted_configuration_wins_and_kubelets_own_entries_are_no_keys(
    cluster: Cluster, kubernetes: Kubernetes, tmp_path: Path
) -> None:
    cluster.put("configmaps", "kfp-launcher", data={"defaultPipelineRoot": "s3://of/cluster"})
    mount = tmp_path / "mount"
    (mount / "..data").mkdir(parents=True)
    (mount / "..data" / "defaultPipelineRoot").write_text("s3://mounted/root\n", encoding="utf-8")
    (mount / "defaultPipelineRoot").symlink_to(mount / "..data" / "defaultPipelineRoot")
    found = reader(kubernetes, KFP_LAUNCHER_CONFIG_DIR=str(mount)).configuration()
    assert found.default_pipeline_root == "s3://mounted/root"
    assert cluster.tokens == []


def test_configmap_is_read_where_nothing_is_mounted(cluster: Cluster, kubernetes: Kubernetes) -> None:
    providers = "s3: {default: {region: eu}}"
    cluster.put("configmaps", "kfp-launcher", data={"providers": providers})
    cluster.failures = [503, 500]
    found = reader(kubernetes).configuration()
    assert found.default_pipeline_root == DEFAULT_PIPELINE_ROOT
    assert found.providers == {"s3": {"default": {"region": "eu"}}}
    assert cluster.tokens == ["Bearer secret"] * 3


def test_missing_configuration_means_the_defaults(kubernetes: Kubernetes) -> None:
    for source in (kubernetes, None):
        found = reader(source).configuration()
        assert (found.default_pipeline_root, found.providers) == (DEFAULT_PIPELINE_ROOT, {})


def test_refused_configuration_is_an_error(cluster: Cluster, kubernetes: Kubernetes) -> None:
    cluster.failures = [403]
    with pytest.raises(KubernetesReadError, match=r'failed to read configmaps "kfp-launcher" in ns: .*403'):
        reader(kubernetes).configuration()


def test_secret_comes_from_files_then_environment_then_kubernetes(
    cluster: Cluster, kubernetes: Kubernetes, tmp_path: Path
) -> None:
    (tmp_path / "my-secret").mkdir()
    (tmp_path / "my-secret" / "a.b").write_text("of file\n", encoding="utf-8")
    cluster.put("secrets", "my-secret", data={"a.b": base64.b64encode(b"of cluster").decode()})
    files, variable = {"KFP_SECRETS_DIR": str(tmp_path)}, {"KFP_SECRET_MY_SECRET_A_B": "of environment"}
    assert reader(kubernetes, **files, **variable).secret("my-secret", "a.b") == "of file"
    assert reader(kubernetes, **variable).secret("my-secret", "a.b") == "of environment"
    assert reader(kubernetes).secret("my-secret", "a.b") == "of cluster"
    with pytest.raises(
        LauncherError, match="neither in KFP_SECRETS_DIR nor as KFP_SECRET_OTHER_K nor in Kub"
    ):
        reader(kubernetes).secret("other", "k")
    with pytest.raises(LauncherError, match="KFP_SECRET____MY_SECRET_A_B"):
        reader(None, **files).secret("../my-secret", "a.b")


def test_secret_that_is_no_text_is_an_error(cluster: Cluster, kubernetes: Kubernetes) -> None:
    cluster.put("secrets", "s", data={"k": "%%%"})
    with pytest.raises(KubernetesReadError, match="no base64 text"):
        reader(kubernetes).secret("s", "k")


@pytest.mark.parametrize(
    ("index", "node", "expected"),
    [
        ("2", "wf.x.executor(3)", 2),
        ("", "wf.x.executor(3)", 3),
        ("", "wf.loop(1:b).executor(4)", 4),
        ("", "wf.x", 0),
        (None, None, 0),
    ],
)
async def test_attempt_comes_from_the_environment_then_from_the_pods_node_name(
    index: str | None, node: str | None, expected: int, cluster: Cluster, kubernetes: Kubernetes
) -> None:
    if node is not None:
        annotations = {"workflows.argoproj.io/node-name": node}
        cluster.put("pods", "pod-1", metadata={"annotations": annotations})
    environment = {} if index is None else {"KFP_RETRY_INDEX": index}
    found = await retry_index(environment, kubernetes, namespace="ns", pod_name="pod-1")
    assert found == expected


async def test_attempt_that_cannot_be_known_is_the_first(cluster: Cluster, kubernetes: Kubernetes) -> None:
    cluster.failures = [403]
    assert await retry_index({}, kubernetes, namespace="ns", pod_name="pod-1") == 0
    assert await retry_index({}, None, namespace="ns", pod_name="pod-1") == 0


def test_without_a_cluster_there_is_no_kubernetes(tmp_path: Path) -> None:
    assert Kubernetes.in_cluster({}) is None
    assert Kubernetes.in_cluster({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, directory=tmp_path) is None
    (tmp_path / "token").write_text("t", encoding="ascii")
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    found = Kubernetes.in_cluster(environment, directory=tmp_path)
    assert found is not None
    assert found._base_url == "https://[fd00::1]:443"


ADDRESS = {"KFP_API_ADDRESS": "other", "KFP_API_PORT": "9"}


@pytest.mark.parametrize(
    ("flags", "environment", "url"),
    [
        ([], {}, "http://ml-pipeline.kubeflow:8888"),
        (["--ml_pipeline_tls_enabled"], {}, "https://ml-pipeline.kubeflow:8888"),
        (["--ml_pipeline_server_port=8887"], {"KFP_API_REST_PORT": "80"}, "http://ml-pipeline.kubeflow:80"),
        (["--ml_pipeline_server_port=1234"], ADDRESS, "http://ml-pipeline.kubeflow:1234"),
        (["--ml_pipeline_server_address="], ADDRESS, "http://other:9"),
        (["--ml_pipeline_server_port="], ADDRESS, "http://other:9"),
        (
            ["--ml_pipeline_server_address=host", "--ml_pipeline_server_port="],
            {"KFP_API_PORT": "9"},
            "http://host:",
        ),
    ],
)
def test_address_of_the_environment_counts_only_where_a_flag_is_empty(
    flags: list[str], environment: dict[str, str], url: str
) -> None:
    assert _url_of_flags(parse(flags), environment) == url


@pytest.mark.parametrize(
    ("flags", "environment", "text"),
    [
        ([], {"KFP_API_URL": "nonsense"}, "is not an http or https URL"),
        (["--ca_cert_path", "/nowhere/ca.crt"], {}, "failed to use the CA certificate /nowhere/ca.crt"),
    ],
)
def test_wrong_address_or_authority_is_said(flags: list[str], environment: dict[str, str], text: str) -> None:
    with pytest.raises(LauncherError, match=text):
        api_client(parse(flags), environment)
