"""The compiled core. Nothing in here imports anything above it."""
