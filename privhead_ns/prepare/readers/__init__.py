"""Readers of captures with poses that other programs wrote; `detect.read_posed` finds the one that fits."""
