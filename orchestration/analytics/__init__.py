"""Statistics that SQL is poor at: forecasts, comparisons, anomalies of cost.

Pure functions over arrays and frames; only `tables` knows the warehouse, and nothing here knows Dagster.
"""
