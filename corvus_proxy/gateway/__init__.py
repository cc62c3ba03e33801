"""The life of one request, in seven phases:

    admit → quote → reserve → route → relay → settle → record

`lifecycle.serve` is the phases in order and the file to open first. The same words stand in logs,
metrics and docs. Nothing here knows Postgres: Redis decides, the worker remembers.
"""
