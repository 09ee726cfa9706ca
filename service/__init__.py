"""Ringback: a webhook delivery service for operation events."""

__version__ = "0.1.0"
