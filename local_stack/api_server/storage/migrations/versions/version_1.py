"""Runs, tasks, artifacts, links and experiments: what the first version created by itself."""

revision = "1"
down_revision = None


def upgrade() -> None:
    """Nothing: databases of this version are where it starts."""
