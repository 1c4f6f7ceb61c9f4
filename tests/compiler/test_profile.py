"""The plugin profile: keys, defaults, and what it refuses.

Oracle: spec DEPLOY 13.3, Argo's validation of executor plugins (2.4), Kubernetes' limits of tokens.
"""

from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import pytest

from compiler.errors import ProfileError
from compiler.profile import PluginProfile
from compiler.sidecar import executor_plugin

BOMB = "a: &a [1,2,3,4]\n" + "".join(
    f"{after}: &{after} [{','.join([f'*{before}'] * 9)}]\n" for before, after in pairwise("abcdef")
)


def test_every_key_has_a_default() -> None:
    profile = PluginProfile.parse("")
    assert profile == PluginProfile()
    assert profile.image == f"kfp-central-driver:{version('kfp-central-driver')}"
    assert (profile.mode, profile.default_mode, profile.args_version) == ("serve", "plugin", "1")
    assert (profile.driver_timeout, profile.driver_retry) == ("", 0)
    assert profile.pod_metadata.annotations == {"sidecar.istio.io/inject": "false"}


def test_all_documented_keys_are_read() -> None:
    profile = PluginProfile.parse("""
mode: forward
image: registry/kfp-central-driver@sha256:0123
imagePullPolicy: Always
resources: {requests: {cpu: 1, memory: 1Gi}, limits: {cpu: 2, memory: 2Gi}}
env:
- {name: KFP_DRIVER_LOG_LEVEL, value: DEBUG}
- {name: SECRET, valueFrom: {secretKeyRef: {name: s, key: k, optional: true}}}
caConfigMap: {name: bundle, key: root.pem}
audienceBase: kfp.example.org
tokenExpirationSeconds: 3600
centralURL: https://kfp-driver-central.kubeflow.svc
podMetadata: {annotations: {a: b}, labels: {c: d}}
defaultMode: pod
driverTimeout: 1h30m
driverRetry: 3
argsVersion: 2
""")
    assert profile.resources is not None
    assert profile.resources.requests == {"cpu": "1", "memory": "1Gi"}
    assert profile.ca_config_map is not None
    assert profile.ca_config_map.key == "root.pem"
    assert profile.central_url == "https://kfp-driver-central.kubeflow.svc"
    assert profile.pod_metadata.labels == {"c": "d"}
    assert (profile.default_mode, profile.args_version, len(profile.env)) == ("pod", "2", 2)
    assert (profile.driver_timeout, profile.driver_retry) == ("1h30m", 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("imagee: x", "unknown key imagee"),
        ("caConfigMap: {name: x, file: y}", "unknown key caConfigMap.file"),
        ("mode: proxy", "mode: Input should be 'serve' or 'forward'"),
        ("mode: forward", "mode forward needs centralURL, an https:// address"),
        ("mode: forward\ncentralURL: http://central", "mode forward needs centralURL, an https:// address"),
        ("resources: {requests: {cpu: 1}}", "resources.limits: Field required"),
        ("resources: {requests: {}, limits: {cpu: 1}}", "resources.requests: Dictionary should"),
        ("tokenExpirationSeconds: 60", "tokenExpirationSeconds: Input should be greater"),
        ("env: {A: b}", "env: expected a list of environment variables"),
        ("env: [{value: b}]", "env: entry 0 has no name"),
        ("env: [{name: A, value: 1}]", "env: A: the value is not a text; quote it"),
        ("env: [{name: A, valeu: b}]", "env: A has unknown fields: valeu"),
        ("env: [{name: KFP_RUN_ID, value: r}]", "env: KFP_RUN_ID cannot be set here: "),
        ("env: [{name: KFP_CA_FILE, value: r}]", "env: KFP_CA_FILE cannot be set here: use the key"),
        ("driverTimeout: 600", "driverTimeout: expected a duration with unit, such as 90s, 10m or 1h30m"),
        ("driverTimeout: '600'", "driverTimeout: expected a duration with unit"),
        ("driverTimeout: 0s", "driverTimeout: expected a duration with unit"),
        ("driverTimeout: -5m", "driverTimeout: expected a duration with unit"),
        ("driverTimeout: 9999999h", "driverTimeout: expected a duration with unit"),
        ("driverTimeout: null", "driverTimeout: expected a duration with unit"),
        ("driverRetry: -1", "driverRetry: Input should be greater than or equal to 0"),
        ("driverRetry: 101", "driverRetry: Input should be less than or equal to 100"),
        ("driverRetry: '3'", "driverRetry: Input should be a valid integer"),
        ("driverRetry: yes", "driverRetry: Input should be a valid integer"),
        ("podMetadata: {labels: {a: 1}}", "podMetadata.labels.a: Input should be a valid string"),
        ("- mode: serve", "Input should be a valid dictionary"),
        ("a: 1\n---\nb: 2", "holds more than one document"),
        ("a: [", "not valid YAML: line 2"),
        (BOMB, "not valid YAML: more than 10000 values"),
    ],
)  # fmt: skip
def test_unusable_profile_is_one_line_that_names_the_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "profile.yaml"
    path.write_text(text)
    with pytest.raises(ProfileError) as caught:
        PluginProfile.load(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"\xff\xfe", "not UTF-8 text"), (b"#" * (2**20 + 1), "larger than 1 MiB")],
    ids=["bytes", "large"],
)
def test_unreadable_profile_is_one_line(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "profile.yaml"
    path.write_bytes(data)
    with pytest.raises(ProfileError, match=message):
        PluginProfile.load(path)
    with pytest.raises(ProfileError, match="cannot be read: No such file"):
        PluginProfile.load(tmp_path / "absent.yaml")


def test_config_map_that_holds_the_profile_is_read_as_it() -> None:
    text = "kind: ConfigMap\ndata:\n  profile.yaml: |\n    image: i:1\n"
    assert PluginProfile.parse(text) == PluginProfile.parse("image: i:1")
    with pytest.raises(ProfileError, match=r"p: the ConfigMap has no key profile\.yaml"):
        PluginProfile.parse("kind: ConfigMap\ndata: {other: x}", source="p")
    with pytest.raises(ProfileError, match=r"p: profile\.yaml: not valid YAML: line 1"):
        PluginProfile.parse("kind: ConfigMap\ndata: {profile.yaml: 'a: b: c'}", source="p")


def test_profile_reaches_the_sidecar() -> None:
    profile = PluginProfile.parse(
        "image: i:1\nimagePullPolicy: Always\nenv: [{name: A, value: b}]\naudienceBase: base\n"
        "tokenExpirationSeconds: 900\ncaConfigMap: {name: bundle}\n"
        "resources: {requests: {cpu: 1m}, limits: {cpu: 2m}}"
    )
    container = executor_plugin(profile, run_id="run-1")["spec"]["sidecar"]["container"]
    assert (container["image"], container["imagePullPolicy"]) == ("i:1", "Always")
    assert container["resources"] == {"requests": {"cpu": "1m"}, "limits": {"cpu": "2m"}}
    values = {one["name"]: one.get("value") for one in container["env"]}
    assert values == {
        "KFP_RUN_ID": "run-1",
        "NAMESPACE": None,
        "KFP_TOKEN_AUDIENCE_BASE": "base",
        "KFP_CA_FILE": "/etc/kfp/ca/ca.crt",
        "A": "b",
    }
