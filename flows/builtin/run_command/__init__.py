"""The builtin job type ``run_command``."""
