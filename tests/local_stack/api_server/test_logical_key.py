"""Logical keys. Oracle: the vectors of spec KFP_API 4.1 and DRIVER 2.1, computed by KFP's own server."""

import pytest

from kfp_api.messages import TaskType
from local_stack.api_server.services.logical_key import logical_key

RUN = "0b6f4f0e-3d0b-4a9e-9d1c-2a7c5a3b9f10"
PARENT = "5d2d6c1e-8f4e-4d0c-9a55-1c2d3e4f5a6b"
LOOP_SCOPE = "root.for-loop-1.train"


Identity = tuple[str, str, str, str, int, int | None]

VECTORS: list[tuple[Identity, str]] = [
    ((RUN, "", "root", "ROOT", 1, None), "90e3fbbdfa6d3c3f20622c50010926a0460380fd8254b08d256a491592dfd1d5"),
    (
        (RUN, PARENT, "root.train", "train", 2, None),
        "e7fbe9e38ee49344e921331d1e156bb6c71173ae82817f634da29f6b8f689f91",
    ),
    (
        (RUN, PARENT, LOOP_SCOPE, "train", 2, 0),
        "6883f7b5f69b536dba67288f1ce20764ccc0166e881466928ca54bec4e11280c",
    ),
    (
        (RUN, PARENT, LOOP_SCOPE, "train", 2, 1),
        "a7767649e339b90b599f80a591f0a4cc716f5ff388c37f95e1c2e78a30fb31e4",
    ),
    (
        ("run-1", "", "root", "ROOT", 1, None),
        "010644fb00070febffb6060a8744e40c79933ae78c83ab1f8b07fbd72d213dec",
    ),
    (
        ("run-1", "t-loop", LOOP_SCOPE, "train", 2, 0),
        "ea6434cb526cc8611280bfb6d28c998bf84585f2fa20855bb67408a3574c5b67",
    ),
]


@pytest.mark.parametrize(("identity", "key"), VECTORS)
def test_logical_key_equals_kfps(identity: Identity, key: str) -> None:
    run_id, parent, scope_path, name, number, index = identity
    computed = logical_key(
        run_id=run_id,
        parent_task_id=parent,
        scope_path=scope_path,
        name=name,
        task_type=TaskType.from_number(number),
        iteration_index=index,
    )
    assert computed == key


@pytest.mark.parametrize("missing", ["run_id", "scope_path", "name", "task_type"])
def test_there_is_no_logical_key_when_the_identity_is_incomplete(missing: str) -> None:
    identity = {"run_id": "r", "parent_task_id": "", "scope_path": "root", "name": "ROOT"}
    task_type = TaskType.TASK_TYPE_UNSPECIFIED if missing == "task_type" else TaskType.ROOT
    identity |= {missing: ""} if missing != "task_type" else {}
    assert logical_key(**identity, task_type=task_type, iteration_index=None) is None
