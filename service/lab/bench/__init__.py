"""The benchmark: the rows of the speed table, each measured on processes of its own.

A receiver and a generator that do as little as they can stand on both sides of the service. All
run on the same machine, so what counts is processor time per delivery and ratios inside one run;
deliveries per second stand beside them.
"""
