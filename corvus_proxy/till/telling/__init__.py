"""What gateways and the worker tell each other in Redis beside the fence: no customer's money."""
