"""Backups of the books: taken under load, kept so many, restored on an empty machine, and drilled.

A backup is a folder: `books.dump` (pg_dump's custom format), `manifest.json` (what it is of, and
the digest of each file) and, under a key file, `secrets`. Redis is in none: recovery fills an empty
one from the books.

Rule 1: a folder without a manifest is no backup.
Rule 2: secrets lie beside the dump only when both are encrypted.
"""
