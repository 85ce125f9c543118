"""A worker: how it claims jobs, begins them, runs them in threads and leaves them. Read worker.py first."""
