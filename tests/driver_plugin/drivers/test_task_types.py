"""Every task gets the type that the task API and our resolver expect.

Oracle: the table of spec DRIVER 6.2 in the project's variant.
"""

import pytest

from driver_plugin.drivers.skeleton import infer_type
from kfp_api.ir.pipeline import TaskSpec
from kfp_api.messages import TaskType
from tests.driver_plugin.drivers.pipelines import Json

LOOP: Json = {"parameterIterator": {"items": {"raw": "[1]"}, "itemInput": "i"}}
CONDITION: Json = {"triggerPolicy": {"condition": "true"}}


@pytest.mark.parametrize(
    ("key", "spec", "expected"),
    [
        ("for-loop-1", LOOP, TaskType.LOOP),
        ("for-loop-1", {**LOOP, **CONDITION}, TaskType.LOOP),
        ("condition-3", CONDITION, TaskType.CONDITION_BRANCH),
        ("anything", CONDITION, TaskType.CONDITION_BRANCH),
        ("condition-3", {}, TaskType.CONDITION),
        ("condition-branches-1", {}, TaskType.DAG),
        ("exit-handler-1", {}, TaskType.EXIT_HANDLER),
        ("exit-handler-1", CONDITION, TaskType.CONDITION_BRANCH),
        ("nested", {}, TaskType.DAG),
    ],
)
def test_the_type_follows_iterator_then_condition_then_name(key: str, spec: Json, expected: TaskType) -> None:
    assert infer_type(key, TaskSpec.parse(spec)) is expected
