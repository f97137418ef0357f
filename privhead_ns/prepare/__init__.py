"""Photographs, or another program's capture, to a raw capture, on the owner's machine."""
