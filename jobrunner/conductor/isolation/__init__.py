"""A job's own process and what it starts: as whom it runs, what it uses, and that nothing of it outlives it."""
