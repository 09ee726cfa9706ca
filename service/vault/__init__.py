"""Secrets at rest: the only room that knows the cryptography library."""
