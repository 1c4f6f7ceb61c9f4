"""The three drivers (ROOT_DAG, DAG, CONTAINER) and the steps they share."""
