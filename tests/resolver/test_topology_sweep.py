"""Every pipeline that KFP tests with, simulated from start to end. Oracle: none of them may fail to resolve.

Leaves produce made-up values of the declared types; conditions, loops and branches are real.
"""

import random
import re
from pathlib import Path
from typing import Any

import pytest

from kfp_api.ir.pipeline import PipelineSpec
from kfp_api.wire import UNSET
from tests.resolver.fixtures import FILES, FIXTURES, load
from tests.resolver.simulation import Leaf, Simulation, fabricated

pytestmark = pytest.mark.conformance

SEEDS = 3


def selected_keys(spec: PipelineSpec) -> list[str]:
    """Members of loop items that selectors of the pipeline name."""
    return sorted(set(re.findall(r"parseJson\(string_value\)\[\"([^\"]+)\"\]", repr(spec))))


@pytest.mark.skipif(not FILES, reason="the KFP fixtures are not beside the project")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
async def test_topology_sweep(path: Path) -> None:
    spec = load(str(path.relative_to(FIXTURES).with_suffix(""))).spec
    keys = selected_keys(spec)
    assert spec.root is not None
    wanted = {
        key: one.declared_type
        for key, one in spec.root.input_definitions.parameters.items()
        if one.default_value is UNSET and not one.is_optional
    }
    for seed in range(SEEDS):
        dice = random.Random(seed)

        def leaf(one: Leaf, dice: random.Random = dice) -> dict[str, Any]:
            declared = one.component.output_definitions
            values = {
                key: fabricated(out.declared_type, dice, keys) for key, out in declared.parameters.items()
            }
            return values | {key: dice.randrange(3) for key in declared.artifacts}

        given = {key: fabricated(declared, dice, keys) for key, declared in wanted.items()}
        simulation = await Simulation(spec, leaf, given, seed).run()
        assert simulation.leaves
