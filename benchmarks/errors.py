"""What can go wrong in a benchmark; each text is one line for a person."""

from __future__ import annotations


class BenchmarkError(Exception):
    """Base of all; the command line prints its text and exits with 1."""


class MissingProgramError(BenchmarkError):
    """A program that a chain is made of is not installed: the chain is left out."""


class StartError(BenchmarkError):
    """A process ended or stayed silent instead of becoming ready."""


class BrokenError(BenchmarkError):
    """A chain lost a stream, or bytes of it."""
