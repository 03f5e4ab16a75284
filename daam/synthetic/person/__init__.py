"""One person: body, pose, clothes, what they carry."""
