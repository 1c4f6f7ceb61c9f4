"""The run that a call names: its namespace, and whether the caller may do what it asks of the run."""

from sqlalchemy import select

from local_stack.api_server.errors import ResourceNotFoundError
from local_stack.api_server.storage.schema import has_id, run_details
from local_stack.api_server.storage.transaction import Transaction


def authorize_run(tx: Transaction, verb: str, run_id: str) -> None:
    """Let the caller pass, or not; without multi-user mode nothing is looked up.

    Raises:
        ResourceNotFoundError: there is no such run.
        ApiError: nobody, or somebody who may not.
    """
    if not tx.multi_user:
        return
    run = tx.connection.execute(
        select(run_details.c.Namespace, run_details.c.Name).where(has_id(run_details, run_id))
    ).one_or_none()
    if run is None:
        raise ResourceNotFoundError(f"Run {run_id} not found")
    tx.caller.authorize(verb, "runs", namespace=run.Namespace, name=run.Name, run_id=run_id)


def run_namespace(tx: Transaction, run_id: str) -> str:
    """The namespace of a run.

    Raises:
        ResourceNotFoundError: there is no such run.
    """
    namespace: str | None = tx.connection.execute(
        select(run_details.c.Namespace).where(has_id(run_details, run_id))
    ).scalar_one_or_none()
    if namespace is None:
        raise ResourceNotFoundError(f"Run {run_id} not found")
    return namespace
