"""What commands share.

screen           where do lines, bars, files and JSON go?
options          which options do several commands have?
domains          are the domains of a run ready?
domain_report    what is printed about a domain?
study_display    how is a study followed?
training_display how is a run followed?
"""
