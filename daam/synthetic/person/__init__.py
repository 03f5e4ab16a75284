"""A person at one moment, as limbs.

people: body and clothes of an identity. pose: its joints in a step. stance: where it stands.
limbs: the tapered shape that everything is made of. body, head, bags: which limbs they have.
"""
