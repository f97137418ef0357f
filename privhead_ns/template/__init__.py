"""The identity-free template (the paper's Fig. 6): an average head, and how it is posed in a capture."""
