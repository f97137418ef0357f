"""The commands of `privhead`, one function each; its docstring is the help text."""
