"""One module per noun, one function per thing an operator or a customer does.

The CLI, the console and the pages call these and nothing below them.
"""
