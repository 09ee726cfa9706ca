"""What the API and the console share: who asks, what they get back, pages and problems."""
