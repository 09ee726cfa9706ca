"""The `ringback` command. Commands import what they need only when they run."""

from service.cli.app import main

__all__ = ["main"]
