"""KubernetesExecutorConfig models against the published ``kfp-kubernetes`` package, the oracle here.

What the package lacks (init containers) is tested by hand.
"""

from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict
from kfp import dsl, kubernetes
from kfp.compiler import Compiler
from kfp.kubernetes import kubernetes_executor_config_pb2 as published
from pydantic import BaseModel
from pydantic.alias_generators import to_camel

from kfp_api.ir.kubernetes import KubernetesExecutorConfig, unknown_config_fields
from kfp_api.ir.load import pipeline_from_struct

CONFIG = published.KubernetesExecutorConfig
OWN_FIELDS = {"KubernetesExecutorConfig.init_containers"}
"""Fields that the published package does not have yet."""

NAME = {"runtimeValue": {"constant": "n"}}
FULL: dict[str, Any] = {
    "secretAsVolume": [
        {"secretName": "s", "mountPath": "/s", "optional": False, "secretNameParameter": NAME}
    ],
    "secretAsEnv": [
        {"secretName": "s", "keyToEnv": [{"secretKey": "k", "envVar": "K"}], "secretNameParameter": NAME}
    ],
    "pvcMount": [
        {
            "taskOutputParameter": {"producerTask": "t", "outputParameterKey": "name"},
            "mountPath": "/d",
            "subPath": "x",
            "pvcNameParameter": {"componentInputParameter": "p"},
        },
        {"constant": "c", "mountPath": "/e"},
        {"componentInputParameter": "c", "mountPath": "/f"},
    ],
    "nodeSelector": {
        "labels": {"snake_key": "v"},
        "nodeSelectorJson": {"runtimeValue": {"constant": {"a": "b"}}},
    },
    "podMetadata": {"labels": {"camelKey": "v"}, "annotations": {"a/b": "c"}},
    "imagePullSecret": [{"secretName": "s", "secretNameParameter": NAME}],
    "imagePullPolicy": "Always",
    "configMapAsVolume": [
        {"configMapName": "c", "mountPath": "/c", "optional": True, "configMapNameParameter": NAME}
    ],
    "configMapAsEnv": [
        {
            "configMapName": "c",
            "keyToEnv": [{"configMapKey": "k", "envVar": "K"}],
            "configMapNameParameter": NAME,
            "optional": True,
        }
    ],
    "activeDeadlineSeconds": "3600",
    "fieldPathAsEnv": [{"name": "N", "fieldPath": "spec.nodeName"}],
    "tolerations": [
        {"key": "k", "operator": "Exists", "value": "v", "effect": "NoExecute", "tolerationSeconds": "0"},
        {"tolerationJson": {"taskOutputParameter": {"producerTask": "t", "outputParameterKey": "o"}}},
    ],
    "genericEphemeralVolume": [
        {
            "volumeName": "v",
            "mountPath": "/v",
            "accessModes": ["ReadWriteOnce"],
            "size": "1Gi",
            "defaultStorageClass": True,
            "storageClassName": "fast",
            "metadata": {"labels": {"a": "b"}},
        }
    ],
    "nodeAffinity": [
        {
            "matchExpressions": [{"key": "k", "operator": "In", "values": ["a"]}],
            "matchFields": [{"key": "f", "operator": "Exists"}],
            "weight": 5,
        },
        {"nodeAffinityJson": {"componentInputParameter": "p"}},
    ],
    "podAffinity": [
        {
            "matchPodExpressions": [{"key": "k", "operator": "Exists"}],
            "matchPodLabels": {"a": "b"},
            "topologyKey": "zone",
            "namespaces": ["n"],
            "matchNamespaceExpressions": [{"key": "k", "operator": "Exists"}],
            "matchNamespaceLabels": {"c": "d"},
            "weight": 1,
            "anti": True,
        }
    ],
    "enabledSharedMemory": {"volumeName": "shm", "size": "1Gi"},
    "emptyDirMounts": [{"volumeName": "e", "mountPath": "/e", "medium": "Memory", "sizeLimit": "1Gi"}],
    "securityContext": {"runAsUser": "0", "runAsGroup": "7", "runAsNonRoot": False},
}


def numbered(document: Any) -> Any:
    """int64 fields travel as text; the models hold numbers."""
    if isinstance(document, dict):
        int64 = {"activeDeadlineSeconds", "tolerationSeconds", "runAsUser", "runAsGroup"}
        return {key: int(item) if key in int64 else numbered(item) for key, item in document.items()}
    return [numbered(item) for item in document] if isinstance(document, list) else document


def published_fields(message: Descriptor, path: str, found: dict[str, Descriptor]) -> dict[str, Descriptor]:
    """Every message reachable in the package's own file, by the model's dotted place."""
    for field in message.fields:
        nested = field.message_type
        if nested is None or nested.GetOptions().map_entry or nested.file.package != "kfp_kubernetes":
            continue
        where = f"{path}.{field.name}"
        if where not in found:
            found[where] = nested
            published_fields(nested, where, found)
    return found


def test_models_have_every_field_of_the_published_package() -> None:
    messages = {"KubernetesExecutorConfig": CONFIG.DESCRIPTOR}
    published_fields(CONFIG.DESCRIPTOR, "KubernetesExecutorConfig", messages)
    assert len(messages) > 15
    for where, message in messages.items():
        model = model_at(where)
        theirs = {field.name for field in message.fields}
        ours = {name for name in model.model_fields if f"{where}.{name}" not in OWN_FIELDS}
        assert ours == theirs, where
        for field in message.fields:
            assert to_camel(field.name) == field.json_name
            assert presence(model, field.name) == has_presence(field), f"{where}.{field.name}"


def model_at(path: str) -> type[BaseModel]:
    model: type[BaseModel] = KubernetesExecutorConfig
    for name in path.split(".")[1:]:
        model = nested_model(model.model_fields[name].annotation)
    return model


def nested_model(annotation: Any) -> type[BaseModel]:
    candidates = [annotation, *getattr(annotation, "__args__", ())]
    return next(one for one in candidates if isinstance(one, type) and issubclass(one, BaseModel))


def presence(model: type[BaseModel], name: str) -> bool:
    return model.model_fields[name].get_default(call_default_factory=True, validated_data={}) is None


def has_presence(field: FieldDescriptor) -> bool:
    return bool(field.has_presence)


def test_full_config_is_read_as_the_published_package_reads_it() -> None:
    message = ParseDict(FULL, CONFIG())
    assert MessageToDict(message) == FULL, "the example uses fields of the package only"
    assert KubernetesExecutorConfig.parse(FULL).to_json() == numbered(FULL)
    assert unknown_config_fields(FULL) == []


def test_both_spellings_and_both_number_forms_are_read() -> None:
    snake = MessageToDict(ParseDict(FULL, CONFIG()), preserving_proto_field_name=True)
    assert KubernetesExecutorConfig.parse(snake) == KubernetesExecutorConfig.parse(FULL)
    assert KubernetesExecutorConfig.parse(numbered(FULL)) == KubernetesExecutorConfig.parse(FULL)
    assert unknown_config_fields(snake) == []


def test_unknown_fields_are_ignored_and_listed() -> None:
    document = {"future": 1, "pvcMount": [{"constant": "p", "readOnly": True}]}
    assert KubernetesExecutorConfig.parse(document).pvc_mount[0].constant == "p"
    assert unknown_config_fields(document) == ["future", "pvcMount[0].readOnly"]


def test_init_containers_are_read_although_the_published_package_lacks_them() -> None:
    assert "init_containers" not in CONFIG.DESCRIPTOR.fields_by_name
    document = {
        "initContainers": [
            {
                "name": "n",
                "image": "i",
                "command": ["c"],
                "args": ["a"],
                "env": [{"name": "E", "value": "v"}],
                "volume_mounts": [{"volumeName": "v", "mount_path": "/v"}],
                "restartPolicy": "Always",
                "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
            }
        ]
    }
    (container,) = KubernetesExecutorConfig.parse(document).init_containers
    assert (container.name, container.image, container.restart_policy) == ("n", "i", "Always")
    assert (container.command, container.args) == (["c"], ["a"])
    assert [(one.name, one.value) for one in container.env] == [("E", "v")]
    assert [(one.volume_name, one.mount_path) for one in container.volume_mounts] == [("v", "/v")]
    assert (container.resources.requests, container.resources.limits) == ({"cpu": "1"}, {"memory": "1Gi"})
    assert unknown_config_fields(document) == []


@pytest.mark.parametrize("document", [{"pvcMount": {}}, {"activeDeadlineSeconds": "soon"}, []])
def test_wrong_types_are_refused(document: Any) -> None:
    with pytest.raises(ValueError, match=r"validation error"):
        KubernetesExecutorConfig.parse(document)


def test_config_that_the_sdk_compiles_is_read_as_the_published_package_reads_it(tmp_path: Any) -> None:
    def work() -> None:
        pass

    component = dsl.component(base_image="python:3.11")(work)

    def demo(secret: str = "db") -> None:
        task = component()
        kubernetes.use_secret_as_volume(task, secret_name=secret, mount_path="/s")
        kubernetes.use_config_map_as_env(task, config_map_name="c", config_map_key_to_env={"k": "K"})
        kubernetes.mount_pvc(task, pvc_name="data", mount_path="/d")
        kubernetes.add_toleration(task, key="gpu", operator="Exists", toleration_seconds=10)
        kubernetes.add_node_selector(task, "disk", "ssd")
        kubernetes.empty_dir_mount(task, "tmp", "/t", medium="Memory", size_limit="1Gi")
        kubernetes.set_timeout(task, 60)
        kubernetes.use_field_path_as_env(task, "NODE", "spec.nodeName")

    file = tmp_path / "demo.yaml"
    Compiler().compile(dsl.pipeline(name="demo")(demo), str(file))
    import yaml  # noqa: PLC0415 (only this test reads YAML)

    spec, platform = list(yaml.safe_load_all(file.read_text()))
    pipeline = pipeline_from_struct({"pipeline_spec": spec, "platform_spec": platform})
    (document,) = pipeline.kubernetes_executors.values()
    theirs = MessageToDict(ParseDict(document, CONFIG()))
    assert KubernetesExecutorConfig.parse(document).to_json() == numbered(theirs)
    assert unknown_config_fields(document) == []
