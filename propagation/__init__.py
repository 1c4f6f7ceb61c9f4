"""What happens to a task's ancestors when it ends: statuses and outputs travel up the DAG.

Driver and launcher share this room, so that both write the same rows.
"""
