"""The Python API; `import creche` offers it."""
