"""A cluster of machines: how it comes up, is checked, takes a lost host back, and goes down.

file      what a file for `ray up` says of the machines
wheel     what they install
remote    commands on them, over ssh
up        start, join, stop
check     what is wrong with a running cluster, asked on its head
probe     what one of its machines says of itself
"""
