"""Batches of canonical columns into ``raw``: validation, merge, manifest and watermark in one transaction."""
