"""Everything that only one machine needs: embedded KFP API, runner, object store."""
