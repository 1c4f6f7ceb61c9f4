"""The embedded KFP API held to what KFP's own API server does and accepts, for tests of its clients.

Rows behave as ``strict_upstream`` makes them. Lists are held to the fields by which KFP's server sorts and
filters tasks, and to the operands of its operations (spec KFP_API 8.2, 8.3): what the embedded server
understands beyond that is refused here as KFP's server refuses it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from local_stack.api_server.app import build_app
from local_stack.api_server.config import ServerConfig

TASK_FIELDS: Final = frozenset(
    {
        "name",
        "display_name",
        "task_id",
        "run_id",
        "cache_fingerprint",
        "create_time",
        "start_time",
        "end_time",
        "status",
        "type",
        "parent_task_id",
        "scope_path",
    }
)
_NUMBERS: Final = frozenset({"status", "type"})
"""Columns that hold numbers: a text there would be compared with a number."""
_NULLABLE: Final = frozenset({"parent_task_id", "name", "display_name", "scope_path"})
_SCALARS: Final = frozenset({"int_value", "long_value", "string_value", "timestamp_value"})
_LISTS: Final = frozenset({"int_values", "long_values", "string_values"})
_COMPARISONS: Final = frozenset(
    {"EQUALS", "NOT_EQUALS", "GREATER_THAN", "GREATER_THAN_EQUALS", "LESS_THAN", "LESS_THAN_EQUALS"}
)


def list_refusal(query: Mapping[str, str]) -> str:
    """Why KFP's server would refuse a list of tasks, or not answer what was meant; empty when it is fine."""
    if query.get("page_token"):
        return "a token comes without order and filter" if {"order_by", "filter"} & query.keys() else ""
    order = query.get("order_by", "create_time").split()
    if order[0] not in TASK_FIELDS or order[1:] not in ([], ["asc"], ["desc"]):
        return f'Invalid sorting field: "{order[0]}" on listable type Task'
    if order[0] in _NULLABLE:
        return f"pages in the order of {order[0]} may never end"
    predicates = orjson.loads(query["filter"])["predicates"] if query.get("filter") else []
    return next((reason for one in predicates if (reason := _predicate_refusal(one))), "")


def _predicate_refusal(predicate: Mapping[str, Any]) -> str:
    key, operation = predicate.get("key", ""), predicate.get("operation", "")
    if key not in TASK_FIELDS:
        return f'no support for filtering on unrecognized field "{key}"'
    values = predicate.keys() - {"key", "operation"}
    if len(values) != 1 or not values <= _SCALARS | _LISTS:
        return f"the predicate on {key} has {len(values)} values"
    (member,) = values
    expected = _LISTS if operation == "IN" else {"string_value"} if operation == "IS_SUBSTRING" else _SCALARS
    if operation not in {"IN", "IS_SUBSTRING"} | _COMPARISONS or member not in expected:
        return f"cannot use {operation} with {member}"
    if (key in _NUMBERS) is member.startswith("string"):
        return f"{key} cannot be compared with {member}"
    return ""


@web.middleware
async def _refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.method == "GET" and request.path.endswith("/tasks"):
        reason = list_refusal(request.query)
        if reason:
            text = f"Failed to create list options: InvalidInputError: {reason}"
            return web.json_response({"code": 3, "message": text}, status=400)
    return await handler(request)


def upstream_app(database: Path) -> web.Application:
    """The embedded API without anything that KFP's own server does not have."""
    app = build_app(ServerConfig(database=database, strict_upstream=True))
    app.middlewares.append(_refuse)
    return app
