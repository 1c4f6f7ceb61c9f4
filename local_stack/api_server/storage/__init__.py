"""Tables, transactions, pages and rows: the only layer that knows SQL."""
