"""The programs of the chains that are not installed programs; each runs as a process."""
