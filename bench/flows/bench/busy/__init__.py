"""A job type that takes some time: an ordinary plugin."""
