"""What a trained run is for: embed, evaluate, export."""
