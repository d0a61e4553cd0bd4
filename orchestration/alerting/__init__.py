"""What people do about alerts, and how they hear of them.

Knows the alerts of the marts as they are built, the actions of people in ``ops``, routes and channels. It
does not know how a rule is evaluated or an episode derived (dbt's affair), nor what a mail looks like
(`reports`).
"""
