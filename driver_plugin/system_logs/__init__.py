"""One log per driver call: captured, redacted, uploaded where a user finds it."""
