"""What a study tries.

space         the settings that are searched, and the values of each
space_checks  which of these no run could have?
starts        the user's own starting points
sampling      Optuna's samplers and pruners; what has not been tried yet?
"""
