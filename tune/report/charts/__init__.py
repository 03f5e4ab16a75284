"""The charts of a study's page."""
