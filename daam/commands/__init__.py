"""Words to calls: the commands of launch.py, and the only code that prints and sets exit codes."""
