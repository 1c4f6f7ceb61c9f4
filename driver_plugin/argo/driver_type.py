"""The three drivers of KFP: what a plugin call asks for (spec DRIVER 0.1)."""

from enum import StrEnum


class DriverType(StrEnum):
    """Argument ``type`` of a driver call."""

    ROOT_DAG = "ROOT_DAG"
    DAG = "DAG"
    CONTAINER = "CONTAINER"
