"""The Prefect flows; a deployment names one of them as its entrypoint."""
