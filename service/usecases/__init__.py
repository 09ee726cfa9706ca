"""What happens: one file a verb, over the ports and the rules."""
