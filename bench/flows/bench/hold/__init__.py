"""A job type whose owners are killed: an ordinary plugin."""
