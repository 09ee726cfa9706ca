"""What is done to the service to learn what it stands: benchmarks and torture."""
