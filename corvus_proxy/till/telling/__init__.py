"""What the worker tells every gateway process through Redis, outside the fence."""
