"""Words to calls: the commands of daam, and the only code that prints and sets exit codes."""
