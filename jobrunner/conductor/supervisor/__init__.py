"""The supervisor of a machine's workers: what it starts, watches, keeps and reports. Read supervisor.py first."""
