"""A provider's own report on a day: what it counted and what it bills, in one form for both.

Rule 1: a report is whole or there is none: a page that lacks, a number that cannot be, a bucket
        that comes twice and differs make it `NoReport`, with a sentence that says which.
Rule 2: reports are asked with a key of their own, which can read an account and make no request.
"""

from corvus_proxy.upstream.reports.asking import Asking, ask
from corvus_proxy.upstream.reports.types import Billed, Counted, NoReport, Report

__all__ = ["FAMILIES", "Asking", "Billed", "Counted", "NoReport", "Report", "ask"]

FAMILIES = ("anthropic", "openai")
"""Whose providers publish reports."""
