"""The settings of a run, from files and the command line.

`schema`, `losses`: every setting. `agreement`: which combinations are refused. `load`: from
presets, files and dotted paths to settings. `reference`: the list of settings for users.
`presets`: named sets of settings.
"""
