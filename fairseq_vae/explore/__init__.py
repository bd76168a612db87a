"""A local page to look around in z: what it shows, and the server of it."""
