"""What `privhead` offers, one function a command; its docstring is the help text."""
