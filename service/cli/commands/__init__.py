"""The commands for people who use a running service, a file for each noun.

They speak the public HTTP API. Importing them imports nothing heavy: `ringback --help` does.
"""
