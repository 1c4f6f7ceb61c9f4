"""The embedded KFP API: runs, tasks, artifacts and experiments of ``v2beta1`` on one SQLite file.

Three layers, each knowing only the next: ``routes`` (HTTP and JSON), ``services`` (KFP's rules, one
function per endpoint, run inside one transaction), ``storage`` (tables, pages, rows).
"""
