"""One file a revision; a file's name begins with its revision."""
