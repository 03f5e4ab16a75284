"""A study's results as files: page, tables, figures."""
