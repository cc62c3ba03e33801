"""Buying: what the pages, the machine's door and the worker ask of orders.

A face imports this package and nothing of the shop. Every function takes the desk first.
"""

from corvus_proxy.service.orders.claiming import claim, claim_view, correct_address, resend
from corvus_proxy.service.orders.desk import Desk, open_desk
from corvus_proxy.service.orders.doctor import Diagnosis, Finding, doctor
from corvus_proxy.service.orders.files import File, check, file, listing
from corvus_proxy.service.orders.placing import offer, place
from corvus_proxy.service.orders.quoting import quote_typed
from corvus_proxy.service.orders.refunding import credit_by_hand, refund, refundable
from corvus_proxy.service.orders.types import (
    Claimed,
    ClaimView,
    Form,
    Offer,
    OpenOrder,
    OrderView,
    PaymentView,
    Placed,
    Problem,
    Quote,
    RefundView,
    StepView,
)
from corvus_proxy.service.orders.viewing import open_of, token_of, view
from corvus_proxy.service.orders.watching import tick, webhook

__all__ = [
    "ClaimView",
    "Claimed",
    "Desk",
    "Diagnosis",
    "File",
    "Finding",
    "Form",
    "Offer",
    "OpenOrder",
    "OrderView",
    "PaymentView",
    "Placed",
    "Problem",
    "Quote",
    "RefundView",
    "StepView",
    "check",
    "claim",
    "claim_view",
    "correct_address",
    "credit_by_hand",
    "doctor",
    "file",
    "listing",
    "offer",
    "open_desk",
    "open_of",
    "place",
    "quote_typed",
    "refund",
    "refundable",
    "resend",
    "tick",
    "token_of",
    "view",
    "webhook",
]
