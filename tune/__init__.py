"""Which settings to try, and what became of them."""
