"""The central driver service: Argo's plugin protocol, the three drivers, pod-spec patches, system logs."""
