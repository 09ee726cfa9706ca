"""The rules: pure values in, values out. No I/O, clock, dice, logging or framework lives here."""
