"""Responses by way of chat: requests, answers, and thinking that travels through the client."""
