"""What runs the service on a machine without containers: Redis, a worker a core, and nginx before them."""
