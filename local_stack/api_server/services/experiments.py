"""Experiments: the groups that clients put runs in (spec KFP_API 7.1)."""

from typing import Any

from sqlalchemy import Row, delete, insert, select, update

from kfp_api.messages import Experiment, StorageState
from local_stack.api_server.errors import AlreadyExistsError, InvalidInputError, ResourceNotFoundError
from local_stack.api_server.services import limits
from local_stack.api_server.storage.encoding import timestamp
from local_stack.api_server.storage.fields import EXPERIMENTS
from local_stack.api_server.storage.links import Wire
from local_stack.api_server.storage.listing import PageRequest, read_page
from local_stack.api_server.storage.schema import default_experiments, experiments, has_id, run_details
from local_stack.api_server.storage.transaction import Transaction, new_id

DEFAULT_NAME = "Default"


def create_experiment(tx: Transaction, experiment: Experiment) -> Wire:
    """Insert an experiment.

    Raises:
        InvalidInputError: no name, or one that is too long.
        AlreadyExistsError: the name is taken.
    """
    if not experiment.display_name:
        raise InvalidInputError("Experiment name is empty. Please specify a valid experiment name")
    limits.check_length("display_name", experiment.display_name, limits.NAME)
    if tx.multi_user and not experiment.namespace:
        raise InvalidInputError("Experiment namespace is required in multi-user mode")
    namespace = tx.stored_namespace(experiment.namespace)
    tx.caller.authorize("create", "experiments", namespace=namespace)
    taken = tx.connection.execute(
        select(experiments.c.UUID).where(
            experiments.c.Name == experiment.display_name, experiments.c.Namespace == namespace
        )
    ).first()
    if taken is not None:
        raise AlreadyExistsError(
            f"The name {experiment.display_name} already exists. Please specify a new name"
        )
    created = _insert(tx, experiment.display_name, experiment.description, namespace)
    return _wire(require_experiment(tx, created))


def get_experiment(tx: Transaction, experiment_id: str) -> Wire:
    """One experiment.

    Raises:
        ResourceNotFoundError: there is none with that id.
    """
    row = require_experiment(tx, experiment_id)
    tx.caller.authorize("get", "experiments", namespace=row.Namespace)
    return _wire(row)


def list_experiments(tx: Transaction, namespace: str, request: PageRequest) -> Wire:
    """A page of a namespace's experiments.

    Raises:
        InvalidInputError: bad page, order or filter.
    """
    if tx.multi_user and not namespace:
        raise InvalidInputError("namespace is required in multi-user mode")
    tx.caller.authorize("list", "experiments", namespace=namespace)
    here = experiments.c.Namespace == tx.stored_namespace(namespace)
    page = read_page(tx.connection, EXPERIMENTS, scope=[here], request=request)
    return page.answer("experiments", [_wire(row) for row in page.rows])


def delete_experiment(tx: Transaction, experiment_id: str) -> Wire:
    """Remove an experiment; its runs stay.

    Raises:
        ResourceNotFoundError: there is none with that id.
    """
    row = require_experiment(tx, experiment_id)
    tx.caller.authorize("delete", "experiments", namespace=row.Namespace)
    tx.connection.execute(
        delete(default_experiments).where(default_experiments.c.DefaultExperimentId == experiment_id)
    )
    tx.connection.execute(delete(experiments).where(has_id(experiments, experiment_id)))
    return {}


def set_experiment_storage_state(tx: Transaction, experiment_id: str, state: StorageState) -> Wire:
    """Archive an experiment together with its runs, or make it available again without them.

    Raises:
        ResourceNotFoundError: there is none with that id.
    """
    row = require_experiment(tx, experiment_id)
    verb = "archive" if state is StorageState.ARCHIVED else "unarchive"
    tx.caller.authorize(verb, "experiments", namespace=row.Namespace)
    tx.connection.execute(
        update(experiments).where(has_id(experiments, experiment_id)).values(StorageState=state.value)
    )
    if state is StorageState.ARCHIVED:
        tx.connection.execute(
            update(run_details)
            .where(run_details.c.ExperimentUUID == experiment_id)
            .values(StorageState=state.value)
        )
    return {}


def require_experiment(tx: Transaction, experiment_id: str) -> Row[Any]:
    """The row with that id.

    Raises:
        ResourceNotFoundError: there is none.
    """
    row = tx.connection.execute(select(experiments).where(has_id(experiments, experiment_id))).one_or_none()
    if row is None:
        raise ResourceNotFoundError(f"Experiment {experiment_id} not found")
    return row


def default_experiment_id(tx: Transaction) -> str:
    """Id of the default experiment, which is created where it is missing."""
    known: str | None = tx.connection.execute(
        select(default_experiments.c.DefaultExperimentId).join_from(
            default_experiments,
            experiments,
            default_experiments.c.DefaultExperimentId == experiments.c.UUID,
        )
    ).scalar()
    if known is not None:
        return known
    experiment_id: str = tx.connection.execute(
        select(experiments.c.UUID).where(experiments.c.Name == DEFAULT_NAME, experiments.c.Namespace == "")
    ).scalar() or _insert(
        tx, DEFAULT_NAME, "All runs created without specifying an experiment will be grouped here"
    )
    tx.connection.execute(delete(default_experiments))
    tx.connection.execute(insert(default_experiments).values(DefaultExperimentId=experiment_id))
    return experiment_id


def _insert(tx: Transaction, name: str, description: str, namespace: str = "") -> str:
    experiment_id = new_id()
    tx.connection.execute(
        insert(experiments).values(
            UUID=experiment_id,
            Name=name,
            Description=description,
            CreatedAtInSec=tx.now,
            LastRunCreatedAtInSec=0,
            Namespace=namespace,
            StorageState=StorageState.AVAILABLE.value,
        )
    )
    return experiment_id


def _wire(row: Row[Any]) -> Wire:
    wire: Wire = {"experiment_id": row.UUID, "display_name": row.Name}
    if row.Description:
        wire["description"] = row.Description
    wire["created_at"] = timestamp(row.CreatedAtInSec)
    if row.Namespace:
        wire["namespace"] = row.Namespace
    wire["storage_state"] = row.StorageState
    wire["last_run_created_at"] = timestamp(row.LastRunCreatedAtInSec)
    return wire
