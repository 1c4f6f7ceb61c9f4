"""Object stores of artifacts: directories, S3 and what speaks its protocol (spec LAUNCHER A6, A9, A19).

Stores are synchronous and are called in threads. They stream: memory does not grow with an artifact.
"""
