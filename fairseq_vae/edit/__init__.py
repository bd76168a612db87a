"""Edits of z: attributes learned from labelled z's, and the ways to move a z towards one."""
