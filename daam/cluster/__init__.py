"""A cluster of machines: how it comes up, is checked, takes a lost host back, and goes down.

file      what a file for `ray up` says of the machines
wheel     what they install
remote    commands on them, over ssh
up        start, join, stop
check     all machines of a running cluster, asked from its head
faults    what is wrong with it, by their answers
probe     what one of its machines says of itself
"""
