"""Executes a compiled Workflow as Argo would, with plugin calls over HTTP and executors as processes."""
