"""Masks from colours and cameras alone, for photographs that have none."""
