"""The small web application over library, alerts and reports; nothing else imports it."""
