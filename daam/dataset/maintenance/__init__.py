"""What is done to a stored domain: copy, describe, verify."""
