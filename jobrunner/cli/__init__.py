"""The command line: one module a command, which reads arguments, calls jobs/, and prints.

Each command's module has ``add_parser(subparsers)``, which only needs the standard library, and ``run(args)``, which
returns the exit code. Data goes to stdout, messages go to stderr. What came out of a job is cleaned of control
characters before it is printed.
"""
