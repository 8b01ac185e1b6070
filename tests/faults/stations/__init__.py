"""Many stations at a bad venue: a generator, a history of what everybody saw, and a checker.

In the spirit of Jepsen: nothing is believed because it should be so. ``run`` lets clients work
while ``chaos`` breaks servers, lines and clocks; every client writes what it did and saw into
a ``History``; ``checker`` compares that with what the database holds in the end.
"""
