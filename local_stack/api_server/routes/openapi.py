"""The OpenAPI document of the server, made from the message models (``GET /apis/v2beta1/openapi.json``).

It describes the canonical form: snake_case names, enum names, 64-bit integers as strings. Requests may use
the other spellings of KFP's gateway too. A test compares its paths with the routes that are served.
"""

from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from typing import Any, Final

import orjson
from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema

from kfp_api.wire import WireMessage
from local_stack.api_server.routes.answering import API_PREFIX
from local_stack.api_server.routes.openapi_calls import CALLS, TEXT, Call, Empty, Json

_REFERENCE: Final = "#/components/schemas/{model}"
_JSON: Final = "application/json"

_STATUS: Final[Json] = {
    "type": "object",
    "description": "google.rpc.Status; the text for a user is that of the first detail, where there is one",
    "required": ["code", "message"],
    "properties": {
        "code": {"type": "integer"},
        "message": TEXT,
        "details": {
            "type": "array",
            "items": {"type": "object", "properties": {"@type": TEXT, "code": {}, "message": TEXT}},
        },
    },
}
_PREFER: Final[Json] = {
    "name": "Prefer",
    "in": "header",
    "description": "return=minimal (RFC 7240): the answer leaves out what grows with a run",
    "schema": {"enum": ["return=minimal"]},
}
_PREFER_VIEW: Final[Json] = {
    "name": "Prefer",
    "in": "header",
    "description": 'view=child; iteration=N; inputs="a b": the row as a child of that iteration needs it',
    "schema": {"type": "string", "pattern": r'^view=child(; iteration=[0-9]{1,9})?(; inputs="[^"]*")?$'},
}
_UPLOAD_ERROR: Final[Json] = {
    "type": "object",
    "required": ["error_message", "error_details"],
    "properties": {"error_message": TEXT, "error_details": TEXT},
}


async def show_openapi(_request: web.Request) -> web.Response:
    """``GET /apis/v2beta1/openapi.json``."""
    return web.Response(body=_document(), content_type=_JSON)


@cache
def _document() -> bytes:
    return orjson.dumps(openapi_document())


def openapi_document() -> Json:
    """The whole document, as data."""
    paths: dict[str, Json] = {}
    for call in CALLS:
        paths.setdefault(API_PREFIX + call.path, {})[call.method.lower()] = _operation(call)
    # The one call whose body is no message: a JSON string that holds a workflow's JSON.
    paths[f"{API_PREFIX}/workflows"] = {
        "post": {
            "operationId": "report_workflow",
            "requestBody": _content(TEXT),
            "responses": _responses(Empty, _STATUS),
        }
    }
    paths[f"{API_PREFIX}/healthz"] = {
        "get": {"operationId": "healthz", "responses": {"200": _described({"type": "object"})}}
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "KFP runs, tasks and artifacts", "version": version("kfp-central-driver")},
        "paths": paths,
        "components": {"schemas": _schemas()},
    }


def _operation(call: Call) -> Json:
    operation: Json = {
        "operationId": call.id,
        "parameters": [
            {"name": part[1:-1], "in": "path", "required": True, "schema": {**TEXT, "minLength": 1}}
            for part in _parts(call.path)
        ]
        + [{"name": name, "in": "query", "schema": schema} for name, schema in call.query.items()]
        + ([_PREFER] if call.may_be_minimal else [])
        + ([_PREFER_VIEW] if call.has_child_view else []),
        "responses": _responses(call.answer, _UPLOAD_ERROR if call.uploads else _STATUS),
    }
    if call.body is not None:
        operation["requestBody"] = _content(_reference(call.body))
    if call.uploads:
        file = {"type": "object", "properties": {"uploadfile": {**TEXT, "format": "binary"}}}
        operation["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": file}}}
    return operation


def _parts(path: str) -> Iterator[str]:
    for segment in path.split("/"):
        if segment.startswith("{"):
            yield segment[: segment.index("}") + 1]


def _responses(answer: type[BaseModel], error: Json) -> Json:
    return {"200": _described(_reference(answer)), "default": _described(error)}


def _described(schema: Json) -> Json:
    return {"description": "the answer", "content": {_JSON: {"schema": schema}}}


def _content(schema: Json) -> Json:
    return {"required": True, "content": {_JSON: {"schema": schema}}}


def _reference(model: type[BaseModel]) -> Json:
    return {"$ref": _REFERENCE.format(model=model.__name__)}


class _Schemas(GenerateJsonSchema):
    """Defaults are a matter of presence on this wire; documents do not repeat them."""

    def default_schema(self, schema: Any) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def nullable_schema(self, schema: Any) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])


def _schemas() -> Json:
    models: list[type[WireMessage]] = list(
        dict.fromkeys(model for call in CALLS for model in (call.answer, call.body) if model is not None)
    )
    _, definitions = models_json_schema(
        [(model, "validation") for model in models],
        by_alias=False,
        ref_template=_REFERENCE,
        schema_generator=_Schemas,
    )
    schemas: Json = definitions["$defs"]
    # Any JSON value; that a value may be unset needs no schema of its own.
    del schemas["Unset"]
    schemas["IOParameter"]["properties"]["value"] = {}
    for model in _all_messages(WireMessage):
        schema = schemas.get(model.__name__)
        if schema is not None:
            schema["additionalProperties"] = False
            schema.pop("description", None)
            for name in model.INT64_FIELDS:
                schema["properties"][name] = {**TEXT, "format": "int64", "pattern": "^-?[0-9]{1,18}$"}
    return schemas


def _all_messages(base: type[WireMessage]) -> Iterator[type[WireMessage]]:
    for model in base.__subclasses__():
        yield model
        yield from _all_messages(model)
