"""TaskFlow's engine with our parts in the places of its own: flows compiled, run, journalled. Read engine.py first."""
