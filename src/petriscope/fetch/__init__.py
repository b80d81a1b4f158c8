"""Downloads that resume and are checked."""
