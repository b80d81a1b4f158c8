"""The web atlas: a folder of static files that any browser opens, derived from the SQLite atlas."""
