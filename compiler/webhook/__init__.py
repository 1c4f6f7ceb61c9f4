"""The rewriter as a mutating admission webhook: Workflows on their way into a cluster (spec COMPILER 13)."""
