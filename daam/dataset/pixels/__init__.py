"""From the bytes of a JPEG to normalised pixels on the device."""
