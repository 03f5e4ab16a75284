"""The results of a study as files.

files        study.json, best.toml, trials.csv and report.html
page         the HTML page, from a record; sections/ its parts, charts/ what they draw
live         writes the page while the study runs
trials       scores and reasons of trials; importances of settings; comparison of the contenders
provenance   versions
"""
