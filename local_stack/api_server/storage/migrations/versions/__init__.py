"""One module per schema version, each the step from the version before it."""
