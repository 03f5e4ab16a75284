"""What commands print on and what they share."""
