"""Committing postings as jobs. Read posting.py first."""
