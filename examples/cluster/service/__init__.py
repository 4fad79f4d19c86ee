"""The service itself: who books hours on which projects. An ASGI application without a framework."""
