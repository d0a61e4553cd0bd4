"""Sample data: a plausible life of a prompt library, written into the application's tables.

``catalogue`` says who is there, ``stories`` what happens to each prompt, ``usage`` draws the uses and
``write`` puts it all into PostgreSQL. Nothing else of the program imports it but its command.
"""
