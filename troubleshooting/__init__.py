"""What a person asks about a run: its driver logs, and why a task is as it is.

Reads what the service left behind, task rows and logs, of the local stack or of any KFP API; changes nothing.
"""
