"""Where a run happens: this process, or workers of a Ray cluster."""
