"""The way to the SQL server: connections, transactions, its clock, its version, its errors. Read database.py first."""
