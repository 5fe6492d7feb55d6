"""Who was refused a service, and is told when it is worth asking again."""

from __future__ import annotations

from typing import Generic, TypeVar

from relay.core.services import ServiceKey, service_key

Agent = TypeVar("Agent")
"""Compared and hashed by identity."""


class WaitingList(Generic[Agent]):
    """What each agent was refused and has not been granted since."""

    def __init__(self) -> None:
        # Both ways, in step with each other; never an empty table within.
        self._services_of: dict[Agent, set[ServiceKey]] = {}
        self._agents_of: dict[ServiceKey, dict[Agent, None]] = {}

    def add(self, agent: Agent, bind: str, port: int, most: int) -> None:
        """It was refused this. Of one agent no more than `most` services are remembered."""
        services = self._services_of.setdefault(agent, set())
        if len(services) < most:
            key = service_key(bind, port)
            services.add(key)
            self._agents_of.setdefault(key, {})[agent] = None

    def remove(self, agent: Agent, bind: str, port: int) -> None:
        """It has this now; no effect if it did not wait for it."""
        key = service_key(bind, port)
        if key in self._services_of.get(agent, ()):
            self._forget(agent, key)

    def forget(self, agent: Agent) -> None:
        """It is gone."""
        for key in tuple(self._services_of.get(agent, ())):
            self._forget(agent, key)

    def _forget(self, agent: Agent, key: ServiceKey) -> None:
        services, agents = self._services_of[agent], self._agents_of[key]
        services.discard(key)
        del agents[agent]
        if not services:
            del self._services_of[agent]
        if not agents:
            del self._agents_of[key]

    def waiting_for(self, bind: str, port: int) -> tuple[Agent, ...]:
        """Who waits for this service, in the order in which they were refused."""
        return tuple(self._agents_of.get(service_key(bind, port), ()))

    def everybody(self) -> tuple[Agent, ...]:
        """Who waits for anything."""
        return tuple(self._services_of)
