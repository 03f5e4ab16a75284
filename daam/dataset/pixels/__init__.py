"""From the bytes of a JPEG to normalised pixels on the device.

Which file answers which question:
    reader          how do I get the pixels of some rows?
    decode          how does a JPEG become pixels of one size?      (device_decode: on a GPU)
    image_file      how does any image file, before an import or without one, become pixels?
    augmentation    what happens to them at random?
    normalise       how do they become the network's input?
    buffers         which memory are they in, and how do they reach the device?
"""
