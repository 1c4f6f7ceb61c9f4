"""The embedded KFP API of ``v2beta1`` on one SQLite file: runs, tasks, artifacts, experiments, pipelines.

Three layers, each knowing only the next: ``routes`` (HTTP and JSON), ``services`` (KFP's rules, one
function per endpoint, run inside one transaction), ``storage`` (tables, pages, rows).

**Who executes runs.** The server stores what is asked for; one runner per database does it, and keeps
nothing here but the states it reports. The rows are the queue, so it survives the death of either side:

* Work is every run that has not ended, oldest first: ListRuns with ``state IN [PENDING, RUNNING,
  CANCELING]``, sorted by ``created_at``.
* ``PENDING``: nobody began it. The runner claims it by reporting its workflow as ``Running`` (``POST
  /workflows``) and reads the run again: only ``RUNNING`` may be executed.
* ``CANCELING``: TerminateRun was called, before or after the claim; a report of ``Running`` does not undo
  it. The runner stops all executors, then reports ``Failed``. A run that was never claimed ends the same way.
* ``RUNNING``, but not in this runner's hands: RetryRun re-opened it, or its runner died. It is resumed:
  nodes that succeeded stay, the others run again. A retry has reset their task rows in the transaction that
  re-opened the run; the rows of a dead runner are as it left them.
* ``Succeeded``, ``Failed`` and ``Error`` are reported only when every executor has stopped: the transaction
  that ends the run settles task rows still RUNNING and makes all of them immutable. Reports that come later
  change nothing, until RetryRun re-opens the run.
"""
