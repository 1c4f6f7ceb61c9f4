"""Task plugins: what else wants to know when a task starts and ends (MLflow is the first)."""
