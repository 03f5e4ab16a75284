"""What a run is: its settings, from files and the command line."""
