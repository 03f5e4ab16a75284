"""The results of a study as files.

files        study.json, best.toml, trials.csv and report.html
page         the HTML page; figures its plots; comparison its table and verdict
provenance   commit and versions
"""
