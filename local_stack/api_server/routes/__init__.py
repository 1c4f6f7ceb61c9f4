"""HTTP in front of the services: paths, query parameters, bodies, and nothing of KFP's rules."""
