"""The inputs of the parent row as its children see them (spec RESOLVER 5.1).

A loop head lists one entry per item, and every task of its body asks for several of its inputs: the list is
sorted out once per resolution.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from kfp_api.ir.pipeline import PipelineSpec
from kfp_api.known_parent import ITERATOR_INPUTS, iteration_of
from kfp_api.messages import IOParameter, IOType
from resolver.errors import ResolutionError


def inputs_of_parents(spec: PipelineSpec, task_key: str) -> frozenset[str]:
    """Names of the inputs that tasks of that key take from the DAGs around them, wherever they stand."""
    tasks = [
        component.dag.tasks[task_key].inputs
        for component in (spec.root, *spec.components.values())
        if component is not None and component.dag is not None and task_key in component.dag.tasks
    ]
    names = [one.component_input_artifact for inputs in tasks for one in inputs.artifacts.values()]
    for parameter in (one for inputs in tasks for one in inputs.parameters.values()):
        names.append(parameter.component_input_parameter)
        if parameter.runtime_value is not None:
            names.append(parameter.runtime_value.runtime_parameter)
    return frozenset(name for name in names if name)


@dataclass
class _Entries:
    """The entries of one key that are no loop items, and those of the iteration."""

    regular: list[IOParameter] = field(default_factory=list)
    same: list[IOParameter] = field(default_factory=list)


class ParentParameters:
    """Input parameters of a row by key, as a task of one iteration means them."""

    def __init__(self, parameters: Iterable[IOParameter], iteration_index: int | None) -> None:
        self._index = iteration_index
        self._by_key: dict[str, _Entries] = {}
        for entry in parameters:
            entries = self._by_key.get(entry.parameter_key)
            if entries is None:
                entries = self._by_key[entry.parameter_key] = _Entries()
            if entry.type not in ITERATOR_INPUTS:
                entries.regular.append(entry)
            if iteration_index is not None and iteration_of(entry) == iteration_index:
                entries.same.append(entry)

    def entry(self, key: str) -> IOParameter | None:
        """The entry of that key; ``None`` where there is none.

        Raises:
            ResolutionError: there are loop items of that key, but none of this iteration.
        """
        entries = self._by_key.get(key)
        if entries is None:
            return None
        candidates = entries.same or entries.regular
        if not candidates:
            index = -1 if self._index is None else self._index
            raise ResolutionError(f"no value for iteration {index} of input parameter {key}")
        # A retry can leave entries of an earlier attempt beside the new ones.
        given = [entry for entry in candidates if entry.type is not IOType.COMPONENT_DEFAULT_INPUT]
        return (given or candidates)[-1]
