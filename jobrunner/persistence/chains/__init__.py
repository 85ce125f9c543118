"""Jobs that come after others, and jobsets. Read links.py first."""
