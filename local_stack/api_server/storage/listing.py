"""Pages of rows: order, filter and page tokens of all list calls (spec KFP_API section 8).

A page token is a keyset: order, filter, and the sort value and id of the next page's first row. It is
bound to its list, survives concurrent inserts, and costs the same on every page. NULLs sort first.
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from sqlalchemy import Column, ColumnElement, Connection, Row, Table, and_, func, or_, select, tuple_

from kfp_api.filters import Filter
from local_stack.api_server.errors import InvalidInputError
from local_stack.api_server.storage.filters import ListField, parse_filter, predicate_clauses

DEFAULT_PAGE_SIZE: Final = 20
MAX_PAGE_SIZE: Final = 200

FEW = 200
"""Up to so many matches of a filter are sorted here instead of in the database."""

_MISMATCH: Final = (
    "page token does not match the supplied sort by and/or filtering criteria. Either specify the same "
    "criteria or leave the latter empty if page token is specified"
)


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What a list call may sort and filter by."""

    name: str
    table: Table
    fields: Mapping[str, ListField]
    default_sort: str
    filter_only: Mapping[str, ListField] = field(default_factory=dict)

    @property
    def id_column(self) -> Column[str]:
        """The tie breaker of every order."""
        return self.table.c.UUID


@dataclass(frozen=True, kw_only=True)
class PageRequest:
    """The paging part of a list request, as text from the query string."""

    page_size: int = 0
    page_token: str = ""
    sort: str = ""
    filter: str = ""


@dataclass(frozen=True, kw_only=True)
class Page:
    """Rows of one page, the token of the next one ("" on the last), and the number of all matches."""

    rows: Sequence[Row[Any]]
    next_page_token: str
    total_size: int

    def answer(self, key: str, items: list[Any]) -> dict[str, Any]:
        """The list response: zero values are absent."""
        wire: dict[str, Any] = {}
        if items:
            wire[key] = items
        if self.total_size:
            wire["total_size"] = self.total_size
        if self.next_page_token:
            wire["next_page_token"] = self.next_page_token
        return wire


@dataclass(frozen=True, kw_only=True)
class _Cursor:
    """Order and filter of a list call, and where its page starts."""

    sort: str
    descending: bool
    filter: Filter
    start: tuple[Any, str] | None = None


def page_limit(page_size: int, *, cap: int = MAX_PAGE_SIZE) -> int:
    """The number of rows a page holds: 20 when not given, never above ``cap``.

    Raises:
        InvalidInputError: negative.
    """
    if page_size < 0:
        raise InvalidInputError("The page size should be greater than or equal to 0")
    return min(page_size or DEFAULT_PAGE_SIZE, cap)


def read_page(
    connection: Connection,
    listing: Listing,
    *,
    scope: Sequence[ColumnElement[bool]],
    request: PageRequest,
    cap: int = MAX_PAGE_SIZE,
) -> Page:
    """One page of the rows that match ``scope`` and the request's filter.

    Raises:
        InvalidInputError: bad size, order, filter or token.
    """
    limit = page_limit(request.page_size, cap=cap)
    cursor = _cursor(listing, request)
    sort_column = listing.fields[cursor.sort].column
    known = {**listing.fields, **listing.filter_only}
    conditions = [*scope, *predicate_clauses(cursor.filter, known)]
    total = connection.execute(
        select(func.count()).select_from(listing.table).where(*conditions)
    ).scalar_one()
    statement = select(listing.table).where(*conditions)
    if cursor.start is not None:
        statement = statement.where(
            _from_here(sort_column, listing.id_column, start=cursor.start, descending=cursor.descending)
        )
    order: list[Column[Any]] = [sort_column, listing.id_column]
    if total > FEW or not cursor.filter.predicates:
        by = [column.desc() for column in order] if cursor.descending else order
        rows = connection.execute(statement.order_by(*by).limit(limit + 1)).all()
    else:
        # Asked to sort what a filter leaves, the database would walk an index in that order and test every
        # row of the scope; not asked, it takes the index that finds the few.
        rows = _sorted(connection.execute(statement).all(), order, descending=cursor.descending)
    token = ""
    if len(rows) > limit:
        following = rows[limit]
        token = _encode_token(listing, cursor, start=(getattr(following, sort_column.name), following.UUID))
    return Page(rows=rows[:limit], next_page_token=token, total_size=total)


def _sorted(
    rows: Sequence[Row[Any]], order: Sequence[Column[Any]], *, descending: bool
) -> Sequence[Row[Any]]:
    """Rows in the order of these columns, with NULLs before everything else."""

    def key(row: Row[Any]) -> list[tuple[bool, Any]]:
        values = [getattr(row, column.name) for column in order]
        return [(value is not None, value) for value in values]

    return sorted(rows, key=key, reverse=descending)


def _cursor(listing: Listing, request: PageRequest) -> _Cursor:
    sort, descending = _parse_sort(listing, request.sort)
    given_filter = parse_filter(request.filter) if request.filter else Filter()
    if not request.page_token:
        return _Cursor(sort=sort, descending=descending, filter=given_filter)
    cursor = _decode_token(listing, request.page_token)
    if request.sort and (sort, descending) != (cursor.sort, cursor.descending):
        raise InvalidInputError(_MISMATCH)
    if request.filter and given_filter != cursor.filter:
        raise InvalidInputError(_MISMATCH)
    return cursor


def _parse_sort(listing: Listing, text: str) -> tuple[str, bool]:
    words = text.split()
    if not words:
        return listing.default_sort, False
    if len(words) > 2 or (len(words) == 2 and words[1].lower() not in ("asc", "desc")):  # noqa: PLR2004 (field and direction)
        raise InvalidInputError(
            f'Received invalid sort by format "{text}". Supported format: "field_name", "field_name desc", '
            'or "field_name asc"'
        )
    name = words[0].lower()
    if name not in listing.fields:
        raise InvalidInputError(f'Invalid sorting field: "{words[0]}"')
    return name, words[-1].lower() == "desc"


def _from_here(
    column: Column[Any], id_column: Column[str], *, start: tuple[Any, str], descending: bool
) -> ColumnElement[bool]:
    """Rows at or after ``start`` in the page order, with NULLs before everything else."""
    value, row_id = start
    if value is None:
        tie = and_(column.is_(None), id_column <= row_id if descending else id_column >= row_id)
        return tie if descending else or_(column.is_not(None), tie)
    # A comparison of row values lets SQLite seek in an index on (sort column, id).
    here, position = tuple_(column, id_column), tuple_(value, row_id)
    if not descending:
        return here >= position
    return or_(here <= position, column.is_(None)) if column.nullable else here <= position


def _encode_token(listing: Listing, cursor: _Cursor, *, start: tuple[Any, str]) -> str:
    document = {
        "list": listing.name,
        "sort": cursor.sort,
        "desc": cursor.descending,
        "filter": cursor.filter.to_wire(),
        "value": start[0],
        "id": start[1],
    }
    return b64encode(orjson.dumps(document)).decode()


def _decode_token(listing: Listing, token: str) -> _Cursor:
    invalid = InvalidInputError("Invalid page token")
    try:
        document = orjson.loads(b64decode(token, validate=True))
        if not isinstance(document, dict) or document["list"] != listing.name:
            raise invalid
        sort, descending, value, row_id = (document[key] for key in ("sort", "desc", "value", "id"))
        cursor_filter = Filter.parse_strict(document["filter"])
    except (ValueError, KeyError) as error:
        # Not base64, not JSON, or a filter that is none: all are values that are wrong.
        raise invalid from error
    well_typed = (
        isinstance(descending, bool)
        and isinstance(row_id, str)
        and (value is None or (isinstance(value, (str, int, float)) and not isinstance(value, bool)))
    )
    if sort not in listing.fields or not well_typed:
        raise invalid
    return _Cursor(sort=sort, descending=descending, filter=cursor_filter, start=(value, row_id))
