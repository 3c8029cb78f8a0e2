"""Self-contained HTML pages: the report of a run, and the data card of a dataset."""
