"""Documents for programs: indexes of pages, the plain files that crawlers ask for, the API's
description."""

from corvus_proxy.site.public.documents import indexes, openapi, plain

DOCUMENTS = (*indexes.DOCUMENTS, *plain.DOCUMENTS, openapi.DOCUMENT)
"""All of them; those of one subject stand with its pages."""
