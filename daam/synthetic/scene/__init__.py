"""The places where people walk.

surfaces: paving, grass, walls. props: what stands around. plates: a whole place as a camera sees
it. spot: the detector's box that an image is cut from.
"""
