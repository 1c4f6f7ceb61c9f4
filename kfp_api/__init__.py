"""What KFP says: API messages, pipeline IR, and the client that speaks to the KFP API server.

Nothing here knows Argo, Kubernetes pods or drivers; every other room may import this one.
"""
