"""What people look at: plots as PNG, the model card, the pages in Prefect, and the run summary."""
