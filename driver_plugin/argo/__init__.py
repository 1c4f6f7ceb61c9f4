"""Argo's contract: what its agent sends, what it expects back, and the driver arguments inside."""
