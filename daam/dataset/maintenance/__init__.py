"""Work on a stored domain.

copy_domain     to another store, verified on the way
describe        counts and distributions of its splits
verify          every byte against the manifest, and the commands that repair it
"""
