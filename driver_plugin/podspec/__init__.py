"""The pod-spec patch: everything the container driver says about the executor's pod."""
