"""Which of a worker's threads computes when, and on which processor core."""
