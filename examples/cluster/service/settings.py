"""What a worker is told by its environment."""

import os
from dataclasses import dataclass
from typing import Self

CHOICES_OF_COHERENCE = {"pubsub": "pubsub", "tracking": "tracking", "off": None}


@dataclass(frozen=True)
class Settings:
    """Where things are, and whether to cache."""

    worker: str
    database_url: str
    redis_url: str
    caches: bool
    coherence: str | None
    health_token: str | None

    @classmethod
    def from_environment(cls) -> Self:
        """Read WORKER, DATABASE_URL, REDIS_URL, HEALTH_TOKEN, CACHE (on, off), COHERENCE (pubsub, tracking, off)."""
        cache = os.environ.get("CACHE", "on")
        if cache not in ("on", "off"):
            raise ValueError(f"CACHE must be on or off, not {cache!r}")
        coherence = os.environ.get("COHERENCE", "pubsub")
        if coherence not in CHOICES_OF_COHERENCE:
            raise ValueError(f"COHERENCE must be one of {', '.join(CHOICES_OF_COHERENCE)}, not {coherence!r}")
        return cls(
            worker=os.environ.get("WORKER", "1"),
            database_url=os.environ.get("DATABASE_URL", "sqlite:///state.db"),
            redis_url=os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"),
            caches=cache == "on",
            coherence=CHOICES_OF_COHERENCE[coherence],
            health_token=os.environ.get("HEALTH_TOKEN") or None,
        )
