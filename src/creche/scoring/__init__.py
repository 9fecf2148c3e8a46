"""Batches of observations in, predictions and quarantine out. Knows neither torch nor Prefect."""
