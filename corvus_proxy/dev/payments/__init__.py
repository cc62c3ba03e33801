"""Simulated payment services: Stripe Checkout and BTCPay Server's Greenfield API, on one port.

POST /v1/checkout/sessions · GET …/{id} · POST …/{id}/expire        `cards`: Stripe
GET  /v1/payment_intents/{id} · GET, POST /v1/refunds · GET /v1/disputes
POST, GET /api/v1/stores/{id}/invoices …                            `coins`: BTCPay Server
GET  /pay/{id} · POST /pay/{id}/{act}                               `pages`: what a buyer sees
GET, POST /control/…                                                `control`: for tests
"""
