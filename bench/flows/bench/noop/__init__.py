"""Job types that are measured: an ordinary plugin."""
