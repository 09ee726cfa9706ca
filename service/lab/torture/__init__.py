"""Torture: the service under load while everything it stands on fails, and then the count.

Producers log every answer, receivers log before they answer, a nemesis with a seeded plan does
harm, and a checker holds what is left against what was said.
"""
