"""Somebody at one moment, as limbs.

people: who they are and what they wear. pose: their joints in a step. stance: where they stand.
limbs: the tapered shape that everything is made of. body, head, bags: which limbs they have.
"""
