"""What a study stores.

folder    its files, and the lock that keeps a second process out
journal   Optuna's journal in a store
resuming  a study goes on with more trials, more time, other settings
"""
