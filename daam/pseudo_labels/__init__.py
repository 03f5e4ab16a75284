"""Pseudo-labels for the unlabelled target: neighbours, groups, memory."""
