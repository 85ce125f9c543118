"""Measurements of jobrunner, one module each."""
