"""The rewriter on what KFP's own compiler makes.

Oracles: the Workflows that Kubeflow Pipelines publishes (spec COMPILER 15.3, suites 2 and 4); this project's
compiler, whose container form equals them; an independent RFC 6902.
"""

from collections.abc import Callable
from copy import deepcopy
from functools import cache

import pytest

from compiler.delivery import Delivery, PluginDelivery
from compiler.finalize import finalize_workflow
from compiler.loading import load_pipeline
from compiler.profile import PluginProfile
from compiler.rewriter.rewrite import RewriteOptions, rewrite
from tests.compiler.argo_rules import violations
from tests.compiler.conformance import Pair, pairs
from tests.compiler.json_patch import patched
from tests.compiler.pipelines import Json, compiled, templates

pytestmark = pytest.mark.conformance
every_pair = pytest.mark.parametrize("pair", pairs())

PINNED = PluginDelivery(
    delivery=Delivery.INLINE,
    profile=PluginProfile.parse(
        "image: registry/driver:1\ncaConfigMap: {name: ca}\nenv: [{name: A, value: b}]\nargsVersion: '2'\n"
        "driverTimeout: 10m\ndriverRetry: 3"
    ),
)
RETRIED = PluginDelivery(profile=PluginProfile.parse("driverRetry: 2"))
LATER = PluginDelivery(
    delivery=Delivery.INLINE,
    profile=PluginProfile.parse("image: registry/driver:9\ndriverTimeout: 1h\ndriverRetry: 9"),
)

loaded = cache(load_pipeline)


def submitted(workflow: Json) -> Json:
    return finalize_workflow(workflow, run_id="run-1", namespace="team-a", display_name="My run")


def unchanged(workflow: Json) -> Json:
    return workflow


@every_pair
@pytest.mark.parametrize(
    ("plugin", "state"),
    [
        (PluginDelivery(), unchanged),
        (RETRIED, submitted),
        (PINNED, unchanged),
        (PINNED, submitted),
    ],
    ids=["none", "none with retries, submitted", "inline", "inline, submitted"],
)
def test_rewritten_golden_is_what_the_compiler_makes_itself_and_stays_that(
    pair: Pair, plugin: PluginDelivery, state: Callable[[Json], Json]
) -> None:
    golden = state(pair.workflow())
    before = deepcopy(golden)
    result = rewrite(golden, RewriteOptions(plugin=plugin))
    assert result.obj == state(compiled(loaded(pair.source), parity=True, plugin=plugin, **pair.options))
    assert golden == before
    assert result.warnings == ()
    assert patched(golden, result.patch) == result.obj
    for options in (RewriteOptions(plugin=plugin), RewriteOptions(plugin=LATER, lenient=True)):
        if plugin.delivery is options.plugin.delivery:
            again = rewrite(result.obj, options)
            assert not again.changed
            assert again.obj is result.obj


@every_pair
def test_exactly_the_drivers_change_and_the_result_satisfies_argo(pair: Pair) -> None:
    golden = pair.workflow()
    result = rewrite(golden, RewriteOptions())
    rewritten, original = templates(result.obj), templates(golden)
    assert list(rewritten) == list(original)
    changed = [name for name in original if rewritten[name] != original[name]]
    drivers = [name for name in original if name in {"system-dag-driver", "system-container-driver"}]
    assert changed == drivers == list(result.templates)
    assert violations(result.obj) == []
