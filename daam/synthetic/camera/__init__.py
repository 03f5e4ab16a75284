"""From limbs to the pixels of a camera.

raster: projection and depth buffer. paint: the colours of skin and clothes.
figure: a lit person on nothing. sensor: haze, exposure, colour response, blur, noise.
"""
