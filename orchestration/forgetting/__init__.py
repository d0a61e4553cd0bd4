"""What is forgotten: a person on request (erase), everything in its time (retention).

Knows where people's data lie: tables, reports, archives. Decides nothing about what is loaded: it leaves
tombstones and sealed days in ``raw``, which the loader heeds.
"""
