"""The application's own database: its tables, and what people manage in them."""
