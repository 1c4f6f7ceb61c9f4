"""Identity of the pod: the matrix of spec PODSPEC 7.15."""

from typing import Any

import pytest

from driver_plugin.podspec.errors import PodSpecError
from tests.driver_plugin.podspec.examples import RESTRICTED, RecordedLog, built_patch, main_of

REFUSED = "runAsUser=0 (root) is not allowed: runAsNonRoot is true; use a non-root UID instead"
DROP_ALL = {"capabilities": {"drop": ["ALL"]}}


@pytest.mark.parametrize(
    ("admin", "user", "expected"),
    [
        (True, None, None),
        (True, True, None),
        (True, False, None),
        (False, True, {"runAsUser": 0, "runAsNonRoot": False}),
        (False, None, {"runAsUser": 0, "runAsNonRoot": False}),
        (None, True, None),
        (None, False, {"runAsUser": 0, "runAsNonRoot": False}),
        (None, None, {"runAsUser": 0}),
    ],
)
async def test_root_is_allowed_only_where_nothing_forbids_it(
    admin: bool | None, user: bool | None, expected: dict[str, Any] | None
) -> None:
    wished = {"runAsUser": "0"} | ({} if user is None else {"runAsNonRoot": user})
    args = {} if admin is None else {"default_run_as_non_root": admin}
    if expected is None:
        with pytest.raises(PodSpecError) as caught:
            await built_patch(config={"securityContext": wished}, **args)
        assert str(caught.value).endswith(REFUSED)
    else:
        patch = await built_patch(config={"securityContext": wished}, **args)
        assert main_of(patch)["securityContext"] == expected | DROP_ALL


async def test_administrator_wins_over_every_wish_with_a_warning() -> None:
    log = RecordedLog()
    patch = await built_patch(
        config={"securityContext": {"runAsUser": 0, "runAsGroup": 7, "runAsNonRoot": False}},
        default_run_as_user="1000",
        default_run_as_group=2000,
        default_run_as_non_root="true",
        log=log,
    )
    assert main_of(patch)["securityContext"] == {
        "runAsUser": 1000,
        "runAsGroup": 2000,
        "runAsNonRoot": True,
        **DROP_ALL,
    }
    assert any("runAsUser" in warning for warning in log.warnings)


@pytest.mark.parametrize("config", [None, {}])
async def test_administrator_defaults_hold_without_a_wish(config: dict[str, Any] | None) -> None:
    patch = await built_patch(config=config, default_run_as_user=0, default_host_users="false")
    assert main_of(patch)["securityContext"] == {"runAsUser": 0}
    assert patch["hostUsers"] is False


async def test_host_users_default_reaches_a_task_without_config_where_upstream_drops_it() -> None:
    upstream: set[str] = {"containers"}
    ours = await built_patch(config=None, default_host_users=True)
    assert ours["hostUsers"] is True
    assert ours.keys() - upstream == {"hostUsers"}


async def test_empty_security_context_drops_capabilities() -> None:
    assert main_of(await built_patch(config={"securityContext": {}}))["securityContext"] == DROP_ALL


async def test_nothing_is_set_when_nobody_asks() -> None:
    patch = await built_patch(config={})
    assert "securityContext" not in main_of(patch)
    assert "hostUsers" not in patch


async def test_init_containers_get_the_administrators_identity_and_not_the_users() -> None:
    patch = await built_patch(
        config={
            "securityContext": {"runAsUser": 5, "runAsGroup": 6},
            "initContainers": [{"name": "prep", "image": "busybox"}],
        },
        default_run_as_group=2000,
    )
    assert patch["initContainers"][0]["securityContext"] == RESTRICTED | {"runAsGroup": 2000}
    assert main_of(patch)["securityContext"] == {"runAsUser": 5, "runAsGroup": 2000, **DROP_ALL}
