"""The claim that a create task asks for: inputs, body and refusals of spec PODSPEC 9.2."""

import json

import pytest

from driver_plugin.podspec.claim import claim_body, claim_name_inputs
from driver_plugin.podspec.errors import PodSpecError
from tests.driver_plugin.podspec.examples import JSON
from tests.kubernetes_schema import assert_valid


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"access_modes": None}, "failed to create pvc: parameter access_modes not provided"),
        ({"access_modes": []}, "failed to create pvc: parameter access_modes not provided"),
        ({"access_modes": "ReadWriteOnce"}, "parameter access_modes is not a list: ReadWriteOnce"),
        (
            {"access_modes": ["ReadWriteOnce", "RWX"]},
            'parameter access_modes: unknown access mode "RWX"; valid are ReadWriteOnce, ReadOnlyMany',
        ),
        ({"size": 5}, "parameter size is not a string: 5"),
        ({"storage_class_name": 1}, "parameter storage_class_name is not a string: 1"),
        ({"annotations": ["a"]}, "failed to create pvc: annotations are not an object"),
        ({"data_source": "snap"}, "failed to build data source: not an object: snap"),
        ({"data_source": {"kind": 1, "name": "x"}}, "failed to build data source: parameter kind"),
        ({"size": None}, "failed to create pvc: parameter volumeSize not provided"),
        ({"size": "lots"}, 'failed to parse pvc size "lots": '),
        ({"data_source": {"name": "x"}}, "failed to build data source: "),
        ({"annotations": {"a": 1}}, 'failed to create pvc: annotation "a" is not a string'),
    ],
)
def test_an_input_that_makes_no_claim_is_named(changes: JSON, text: str) -> None:
    values = {"access_modes": ["ReadWriteOnce"], "size": "1Gi", **changes}
    given = {key: value for key, value in values.items() if value is not None}
    with pytest.raises(PodSpecError) as caught:
        claim_body("n", given, labels={}, default_storage_class="standard")
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("given", "default", "expected"),
    [
        ({}, "standard", {"storageClassName": "standard"}),
        ({}, "-", {}),
        ({"storage_class_name": ""}, "standard", {"storageClassName": ""}),
        ({"storage_class_name": "fast"}, "-", {"storageClassName": "fast"}),
    ],
)
def test_the_storage_class_of_a_claim(given: JSON, default: str, expected: JSON) -> None:
    values = {"access_modes": ["ReadWriteOnce"], "size": "1Gi", **given}
    spec = claim_body("n", values, labels={}, default_storage_class=default)["spec"]
    assert {key: spec[key] for key in spec if key == "storageClassName"} == expected


def test_all_inputs_of_a_claim_reach_its_body() -> None:
    source: JSON = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "snap"}
    body = claim_body(
        "0a1b-data",
        {
            "access_modes": ["ReadWriteMany"],
            "size": "5Gi",
            "annotations": {"team": "x"},
            "volume_name": "pv-7",
            "data_source": source,
        },
        labels={"l": "1"},
        default_storage_class="standard",
    )
    assert_valid(body)
    assert json.loads(json.dumps(body)) == {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "0a1b-data", "annotations": {"team": "x"}, "labels": {"l": "1"}},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": "5Gi"}},
            "storageClassName": "standard",
            "volumeName": "pv-7",
            "dataSource": source,
        },
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("", "")),
        ({"pvc_name": "p"}, ("p", "")),
        ({"pvc_name_suffix": "-s"}, ("", "-s")),
        ({"pvc_name": "p", "pvc_name_suffix": ""}, ("p", "")),
    ],
)
def test_a_claim_has_a_chosen_name_or_a_suffix(given: JSON, expected: tuple[str, str]) -> None:
    assert claim_name_inputs(given) == expected


def test_a_claim_cannot_have_a_chosen_name_and_a_suffix() -> None:
    with pytest.raises(PodSpecError, match="at most one of pvc_name and pvc_name_suffix") as caught:
        claim_name_inputs({"pvc_name": "p", "pvc_name_suffix": "-s"})
    assert '"p" and "-s"' in str(caught.value)


def test_a_data_source_without_a_group_is_of_the_core_group() -> None:
    values: JSON = {
        "access_modes": ["ReadWriteOnce"],
        "size": "1Gi",
        "data_source": {"kind": "PersistentVolumeClaim", "name": "other", "apiGroup": None, "extra": 1},
    }
    body = claim_body("n", values, labels={}, default_storage_class="-")
    assert_valid(body)
    assert body["spec"]["dataSource"] == {"kind": "PersistentVolumeClaim", "name": "other"}
