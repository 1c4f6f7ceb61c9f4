"""The executor side: runs one task's command and publishes its outputs; imports artifacts."""
