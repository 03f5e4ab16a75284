"""The command line: words to calls. Only this package prints and sets exit codes.

app           the commands together, exit codes, --version
tune, train, evaluate, label, search, export, embed, data, settings       one per file
web           pages on this machine
terminal      what they share: options, printing, progress, the display of a study
"""
