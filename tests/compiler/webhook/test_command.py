"""``kfp-driver webhook`` as a process: TLS, reloading, signals.

Oracle: Python's own TLS client, which verifies the chain and the name; the exit codes of the command's help.
"""

import datetime as dt
import gzip
import json
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from compiler.rewriter.rewrite import rewrite
from driver_plugin.cli import main
from tests.compiler.pipelines import Json
from tests.compiler.rewriter.workflows import driver_pods, submitted
from tests.compiler.webhook.reviews import OPTIONS, admission, admitted, response

VALID_FROM = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
VALID_UNTIL = dt.datetime(2120, 1, 1, tzinfo=dt.UTC)


class Files:
    """What the webhook reads: certificate, key and profile."""

    def __init__(self, folder: Path) -> None:
        self.certificate = folder / "tls.crt"
        self.key = folder / "tls.key"
        self.profile = folder / "profile.yaml"
        self.set_profile("image: registry/driver:1\n")
        self.renew()

    def set_profile(self, text: str) -> None:
        """Replace the profile as the kubelet does, in one step."""
        draft = self.profile.with_suffix(".new")
        draft.write_text(text)
        draft.replace(self.profile)

    def renew(self) -> None:
        """A new self-signed certificate for localhost; whoever trusts it trusts no other."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(VALID_FROM)
            .not_valid_after(VALID_UNTIL)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(key, hashes.SHA256())
        )
        self.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.certificate.read_text())

    @property
    def options(self) -> list[str]:
        return [
            "--tls-cert",
            str(self.certificate),
            "--tls-key",
            str(self.key),
            "--profile",
            str(self.profile),
        ]


class Running:
    """A webhook process and its log."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.process = process
        self._log: IO[str] = process.stdout
        started = self.event("serving")
        self.url = started["url"].replace("127.0.0.1", "localhost")
        self.health_url = started["health_url"]

    def event(self, name: str) -> Json:
        """The next log line of that name; the test's time limit bounds the wait."""
        for line in self._log:
            document: Json = json.loads(line)
            if document["event"] == name:
                return document
        raise AssertionError(f"the process ended without {name}")

    def post(self, document: Json, trust: ssl.SSLContext) -> bytes:
        request = urllib.request.Request(
            f"{self.url}/mutate-workflow",
            data=json.dumps(document).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, context=trust, timeout=20) as answer:
            body: bytes = answer.read()
        return body

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"{self.health_url}{path}", timeout=20) as answer:
            text: str = answer.read().decode()
        return text


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@contextmanager
def webhook(*options: str) -> Iterator[Running]:
    command = [sys.executable, "-m", "driver_plugin.cli", "webhook", "--host", "127.0.0.1", "--port", "0"]
    command += ["--health-port", "0", "--poll-seconds", "0.05", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Running(process)
        finally:
            process.kill()


def image_of(workflow: Json, body: bytes) -> str:
    (plugin,) = admitted(workflow, response(body))["spec"]["executorPlugins"]
    image: str = plugin["spec"]["sidecar"]["container"]["image"]
    return image


def test_process_serves_reloads_and_stops(files: Files) -> None:
    workflow = submitted(driver_pods())
    with webhook(*files.options) as running:
        first = files.trust()
        assert image_of(workflow, running.post(admission(workflow), first)) == "registry/driver:1"
        assert running.get("/healthz") == running.get("/readyz") == "ok\n"

        packed = urllib.request.Request(
            f"{running.url}/mutate-workflow",
            data=gzip.compress(json.dumps(admission(workflow)).encode()),
            headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
        )
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(packed, context=first, timeout=20)

        files.renew()
        assert running.event("reloaded")["file"] == "certificate"
        running.post(admission(workflow), files.trust())
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            running.post(admission(workflow), first)

        files.set_profile("image: registry/driver:22\n")
        assert running.event("reloaded")["file"] == "profile"
        assert image_of(workflow, running.post(admission(workflow), files.trust())) == "registry/driver:22"

        files.set_profile("imagee: registry/driver:333\n")
        assert "unknown key imagee" in running.event("reload-failed")["error"]
        assert image_of(workflow, running.post(admission(workflow), files.trust())) == "registry/driver:22"

        trust = files.trust()
        files.key.write_text("half of a rotation")
        assert running.event("reload-failed")["file"] == "certificate"
        running.post(admission(workflow), trust)
        metrics = running.get("/metrics")
        assert 'kfp_driver_rewriter_requests_total{outcome="changed"} 5.0' in metrics
        assert 'kfp_driver_rewriter_reloads_total{file="profile",outcome="failed"} 1.0' in metrics

        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(timeout=30) == 143


def test_default_profile_and_policy_allow(files: Files) -> None:
    workflow = submitted(driver_pods())
    workflow["spec"]["templates"][0]["container"]["args"] = ["stray"]
    options = [*files.options[:4], "--delivery", "inline", "--policy", "allow"]
    with webhook(*options) as running:
        given = response(running.post(admission(workflow), files.trust()))
        assert given["allowed"]
        assert given["warnings"]
        whole = submitted(driver_pods())
        body = running.post(admission(whole), files.trust())
        assert admitted(whole, response(body)) == rewrite(whole, OPTIONS).obj
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(timeout=30) == 130


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--tls-cert and --tls-key are needed: Kubernetes calls webhooks over TLS only"),
        (["--tls-cert", "absent.crt", "--tls-key", "absent.key"],
         "certificate absent.crt with key absent.key cannot be used: No such file or directory"),
        (["--tls-cert", "profile.yaml", "--tls-key", "tls.key"],
         "certificate profile.yaml with key tls.key cannot be used: "),
        (["--tls-cert", "tls.crt", "--tls-key", "tls.key", "--profile", "absent.yaml"],
         "absent.yaml: cannot be read: No such file or directory"),
        (["--tls-cert", "tls.crt", "--tls-key", "tls.key", "--host", "192.0.2.1"],
         "cannot listen on 192.0.2.1 port 9443: Cannot assign requested address\n"),
    ],
    ids=["no certificate", "absent certificate", "no PEM", "absent profile", "foreign address"],
)  # fmt: skip
def test_settings_that_cannot_work_are_one_line_and_exit_code_78(
    files: Files,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(files.key.parent)
    assert main(["webhook", "--health-port", "0", *options]) == 78
    error = capsys.readouterr().err
    assert error.startswith(f"kfp-driver webhook: {message}")
    assert error.count("\n") == 1
