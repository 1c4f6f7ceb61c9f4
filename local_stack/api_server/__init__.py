"""The embedded KFP run, task and artifact API: routes, services, storage on SQLite."""
