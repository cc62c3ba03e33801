"""The operator's port: the desk in a browser, metrics of every role on this machine. Never public.

Its pages know nothing that `service.operating` and its neighbours do not tell the command line too,
and change nothing but by the same functions.
"""
