<<<<<<< HEAD
"""What the worker tells every gateway process through Redis, outside the fence."""
=======
"""What gateways and the worker tell each other in Redis beside the fence: no customer's money."""
>>>>>>> p7backup
