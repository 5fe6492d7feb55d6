"""Change a running program, and see what it does: HTTP with JSON over a unix socket."""
