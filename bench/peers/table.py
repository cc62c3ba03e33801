"""All peers, the cheapest first."""

from bench.peers import litellm, nginx, portkey

PEERS = (nginx.PEER, portkey.PEER, litellm.PEER)
