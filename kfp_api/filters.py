"""Filters of KFP's list calls: predicates on row fields, ANDed (spec KFP_API 8.3)."""

from typing import ClassVar

from pydantic import Field

from kfp_api.wire import Int64, Timestamp, WireEnum, WireMessage


class PredicateOperation(WireEnum):
    """Comparison of a filter predicate (there is no number 4)."""

    OPERATION_UNSPECIFIED = "OPERATION_UNSPECIFIED", 0
    EQUALS = "EQUALS", 1
    NOT_EQUALS = "NOT_EQUALS", 2
    GREATER_THAN = "GREATER_THAN", 3
    GREATER_THAN_EQUALS = "GREATER_THAN_EQUALS", 5
    LESS_THAN = "LESS_THAN", 6
    LESS_THAN_EQUALS = "LESS_THAN_EQUALS", 7
    IN = "IN", 8
    IS_SUBSTRING = "IS_SUBSTRING", 9


class StringValues(WireMessage):
    """Operand of an ``IN`` predicate over strings."""

    values: list[str] = Field(default_factory=list)


class IntValues(WireMessage):
    """Operand of an ``IN`` predicate over 32-bit integers."""

    values: list[int] = Field(default_factory=list)


class LongValues(WireMessage):
    """Operand of an ``IN`` predicate over 64-bit integers."""

    values: list[Int64] = Field(default_factory=list)


class Predicate(WireMessage):
    """One comparison of a list filter; task states are filtered under the key ``status``."""

    INT64_FIELDS: ClassVar[frozenset[str]] = frozenset({"long_value"})

    operation: PredicateOperation = PredicateOperation.OPERATION_UNSPECIFIED
    key: str = ""
    int_value: int | None = None
    long_value: Int64 | None = None
    string_value: str | None = None
    timestamp_value: Timestamp | None = None
    int_values: IntValues | None = None
    long_values: LongValues | None = None
    string_values: StringValues | None = None


class Filter(WireMessage):
    """Predicates of a list call, ANDed (spec KFP_API 8.3)."""

    predicates: list[Predicate] = Field(default_factory=list)
