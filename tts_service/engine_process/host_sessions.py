"""Sessions as the engine's process has them: a renderer for each, opened by its first order."""

import asyncio
from collections.abc import Callable

from tts_service.engine import Engine
from tts_service.engine_process.messages import Rendered
from tts_service.renderer import Renderer
from tts_service.speech.rendering import Order, RenderEvent


class HostSessions:
    """Renderers by their sessions' numbers. `say` tells the front end what comes of orders."""

    def __init__(self, engine: Engine, say: Callable[[Rendered], object]) -> None:
        self._engine = engine
        self._say = say
        self._renderers: dict[int, Renderer] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def submit(self, session: int, order: Order) -> None:
        """Take an order."""
        renderer = self._renderers.get(session)
        if renderer is None:
            renderer = self._opened(session)
        renderer.submit(order)

    def _opened(self, session: int) -> Renderer:
        def emit(event: RenderEvent) -> None:
            self._say(Rendered(session=session, event=event))

        renderer = self._renderers[session] = Renderer(self._engine, emit, carried=True)
        self._tasks[session] = asyncio.create_task(renderer.run())
        return renderer

    def end(self, session: int) -> None:
        """End a session, and what is under way for it."""
        task = self._tasks.pop(session, None)
        if task is not None:
            del self._renderers[session]
            task.cancel()

    async def close(self) -> None:
        """End all of them."""
        tasks = tuple(self._tasks.values())
        for session in tuple(self._tasks):
            self.end(session)
        await asyncio.gather(*tasks, return_exceptions=True)

    def __repr__(self) -> str:
        return f"<HostSessions {len(self._tasks)}>"
