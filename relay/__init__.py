"""A relay for TCP services behind NAT, in plain SSH: server on B, agent on C, connect on A."""

__version__ = "0.1.0"
