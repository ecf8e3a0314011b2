"""A task that Python steps, shown in the page through a web socket.

A moment is a text (JSON), followed by as many binary messages as it names `parts`:
fast weights, and pictures of the robot and its twin. What the visitor does comes back
as JSON.
"""

import io
import itertools
import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
from PIL import Image

from spikepropamine.common import UsageError, one_line, shown
from spikepropamine.envs.rendering import Camera, CannotDraw, drawing_arguments
from spikepropamine.evaluation.ask.conditions import (
    CLEAN,
    Condition,
    Task,
    conditions_of,
    make_env,
)
from spikepropamine.evaluation.ask.lesions import (
    Hook,
    Infos,
    PlasticityOff,
    fields_of,
    is_plastic,
    layout_of,
)
from spikepropamine.evaluation.ask.runs import Run
from spikepropamine.evaluation.run.watched import Moment, watch
from spikepropamine.export.page import scores_of
from spikepropamine.folder import name_of
from spikepropamine.policies.network import StateLayout
from spikepropamine.reading import Unreadable, parse_json
from spikepropamine.server import HOST, HOSTS, unavailable

WIDTH, HEIGHT = 480, 400  # of a picture, in pixels
UNTIMED = 20  # steps a second of a task without a clock
REST = 1.5  # seconds between two episodes
PICTURES = 40  # a second, at most
MODES = ("on", "frozen", "off")
LARGEST = 100_000  # bytes of a message from the page


@dataclass
class Hand(Hook):
    """What the visitor does to the plasticity of a policy while it runs."""

    layout: StateLayout | None
    mode: str = "on"
    forgets: bool = False  # at the next step

    def before(self, step: int, state: Any, starts: np.ndarray, infos: Infos) -> None:
        """Sets the flag, and clears the fast weights where nothing is to be left of
        them.
        """
        if self.layout is None:
            return
        self.layout.get(state[0], "plasticity_off")[...] = float(self.mode != "on")
        if self.forgets or self.mode == "off":
            for kind in ("fast_weights", "eligibility"):
                for name in fields_of(self.layout, kind):
                    self.layout.get(state[0], name)[...] = 0.0
        self.forgets = False


class Show:
    """One visitor's robot and twin, step by step. Raises UsageError: the text does not
    apply.

    Args:
        run: the policy, with its task.
        text: of the perturbations; None: there are none.
    """

    def __init__(self, run: Run, task: Task, text: str | None) -> None:
        self.run = run
        self.task = task
        self.text = text
        self.layout = layout_of(run.policy)
        self.hand = Hand(self.layout)
        self.twin = is_plastic(run.policy)
        self._opened = ExitStack()
        condition = self._condition(text)
        with closing(make_env(task, CLEAN, run.previous, run.revealed)) as plain:
            self.seconds = 1 / (plain.metadata.get("render_fps") or UNTIMED)
            drawn = drawing_arguments(plain)
        arguments = dict(task.arguments) | drawn
        shown_task = replace(task, arguments=arguments)
        self.envs: list[gym.Env] = []
        self.cameras: list[Camera] = []
        for _ in range(2 if self.twin else 1):
            env = make_env(shown_task, condition, run.previous, run.revealed)
            self.envs.append(self._opened.enter_context(closing(env)))
            self._add_camera(env)
        self.moments: Iterator[tuple[Moment, ...]] = iter(())

    def close(self) -> None:
        """Closes environments and cameras."""
        self._opened.close()

    def restart(self, seed: int) -> None:
        """An episode begins."""
        hooks: list[Hook] = [self.hand]
        if self.twin:
            assert self.layout is not None
            hooks.append(PlasticityOff(self.layout, 0))
        self.moments = self._together(seed, hooks)
        next(self.moments)  # that after the reset

    def _together(self, seed: int, hooks: list[Hook]) -> Iterator[tuple[Moment, ...]]:
        """Robot and twin, step by step, until the robot's episode ends. A twin whose
        episode ends before, as with a fall, begins another.
        """

        def episode(one: int, falls: int) -> Iterator[Moment]:
            policy = self.run.policy
            return watch(policy, self.envs[one], seed + falls, hook=hooks[one])

        def without_end(one: int) -> Iterator[Moment]:
            yield from episode(one, 0)
            for falls in itertools.count(1):
                yield from itertools.islice(episode(one, falls), 1, None)

        twins = (without_end(one) for one in range(1, len(hooks)))
        yield from zip(episode(0, 0), *twins)

    def pictures(self) -> list[bytes]:
        """Robot and twin as they are now, as JPEG; none where nothing can draw them."""
        try:
            return [_jpeg(camera.picture()) for camera in self.cameras]
        except CannotDraw:
            self.cameras.clear()
            return []

    def _add_camera(self, env: gym.Env) -> None:
        try:
            camera = Camera(env, WIDTH, HEIGHT)
        except CannotDraw:
            return
        self.cameras.append(self._opened.enter_context(closing(camera)))

    def _condition(self, text: str | None) -> Condition:
        if not text:
            return CLEAN
        try:
            conditions, _ = conditions_of(self.task, None, [text], [])
        except ValueError as error:
            raise UsageError(one_line(error)) from error
        return conditions[-1]


class Visit:
    """What happens on one web socket: a show, and what its visitor does."""

    def __init__(self, socket: Any, run: Run, task: Task, text: str | None) -> None:
        self.socket = socket
        self.run = run
        self.task = task
        self.show = Show(run, task, text)
        self.running = True
        self.single = False
        self.seed = 0
        self.speed = 1.0
        self._over = False  # the episode; the next one has not begun
        self._drawn = 0.0  # when the last pictures were

    def go(self) -> None:
        """Runs until the page is closed."""
        try:
            self._begin()
            while True:
                began = time.monotonic()
                if (self.running or self.single) and not self._step():
                    self._over = True
                    self._wait(REST)
                    if self._over:  # the visitor has begun none
                        self.seed += 1
                        self._begin()
                self.single = False
                spent = time.monotonic() - began
                self._wait(max(self.show.seconds / self.speed - spent, 0.001))
        finally:
            self.show.close()

    def _begin(self) -> None:
        self._over = False
        self.show.restart(self.seed)
        self._send(_start_of(self.show, self.seed))
        self._send({"kind": "pictures"}, self.show.pictures())

    def _step(self) -> bool:
        """Whether the episode goes on. What a task does that cannot be ends it: the
        page says so, and pauses.
        """
        try:
            moments = next(self.show.moments, None)
        except UsageError as error:
            self.running = False
            self._send({"kind": "stopped", "message": one_line(error)})
            return True
        if moments is None:
            return False
        first = moments[0]
        weights = first.fast_weights
        said = {
            "kind": "step",
            "rewards": [moment.reward for moment in moments],
            "correct": [moment.info.get("correct") for moment in moments],
            "spikes": _last(first.spikes),
            "modulator": _last(first.modulator),
            "weights": weights is not None,
        }
        parts = [] if weights is None else [weights.astype("<f4").tobytes()]
        now = time.monotonic()
        if self.single or now - self._drawn >= 1 / PICTURES:
            parts += self.show.pictures()
            self._drawn = now
        self._send(said, parts)
        return True

    def _send(self, said: Mapping[str, Any], parts: list[bytes] | None = None) -> None:
        parts = parts or []
        self.socket.send(json.dumps({**said, "parts": len(parts)}, default=_plain))
        for part in parts:
            self.socket.send(part)

    def _wait(self, seconds: float) -> None:
        """Hears what the visitor does until this time has passed."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            try:
                message = self.socket.recv(timeout=left)
            except TimeoutError:
                return
            self._hear(message)

    def _hear(self, message: str | bytes) -> None:
        """Does what the page says; what it cannot say is left undone."""
        try:
            said = parse_json(message, "what the page says")
        except Unreadable:
            return
        match said:
            case {"do": "run", "running": bool(running)}:
                self.running = running
            case {"do": "step"}:
                self.running = False
                self.single = True
            case {"do": "restart", "seed": True | False}:
                pass  # JSON's, which are integers in Python
            case {"do": "restart", "seed": int(seed)} if 0 <= seed < 2**31:
                self.seed = seed
                self._begin()
            case {"do": "speed", "speed": float() | int() as speed} if 0 < speed <= 8:
                self.speed = float(speed)
            case {"do": "plasticity", "mode": str(mode)} if mode in MODES:
                self.show.hand.mode = mode
            case {"do": "forget"}:
                self.show.hand.forgets = True
            case {"do": "perturb", "text": str(text)}:
                self._perturb(text.strip())

    def _perturb(self, text: str) -> None:
        try:
            show = Show(self.run, self.task, text)
        except UsageError as error:
            self._send({"kind": "refused", "message": one_line(error)})
            return
        show.hand.mode = self.show.hand.mode
        self.show.close()
        self.show = show
        self._begin()


def _start_of(show: Show, seed: int) -> dict[str, Any]:
    """What the page has to know of an episode that begins."""
    run = show.run
    return {
        "kind": "start",
        "name": name_of(run.folder),
        "policy": run.name,
        "environment": run.environment,
        "seed": seed,
        "seconds": show.seconds,
        "twin": show.twin,
        "trials": show.task.chance is not None,
        "text": show.text or "",
        "scores": scores_of(run.folder),
    }


def _last(ticks: np.ndarray | None) -> list[float]:
    """The values of the neurons at the last tick; none where there are none."""
    return [] if ticks is None else np.round(ticks[-1].astype(float), 3).tolist()


def _plain(value: object) -> Any:
    """A number of NumPy as JSON has it."""
    return value.item() if isinstance(value, np.generic) else shown(value)


def _jpeg(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=85)
    return file.getvalue()


class LiveServer:
    """A web socket on the loopback interface, for pages of this machine alone. Raises
    UsageError: the port cannot be had.

    Attributes:
        port: that it has.
    """

    def __init__(self, run: Run, task: Task, text: str | None, port: int = 0) -> None:
        from websockets.exceptions import ConnectionClosed
        from websockets.sync.server import serve

        Show(run, task, text).close()  # so that what is wrong is said at once

        def visit(socket: Any) -> None:
            with suppress(ConnectionClosed):
                Visit(socket, run, task, text).go()

        self.origins: list[Any] = []
        quiet = logging.getLogger("websockets")
        quiet.setLevel(logging.ERROR)
        try:
            self._server = serve(
                visit, HOST, port, origins=self.origins, max_size=LARGEST, logger=quiet
            )
        except (OSError, OverflowError) as error:
            raise unavailable(port, error) from error
        self.port: int = self._server.socket.getsockname()[1]
        # a page's thread is a daemon where this one is, and Python aborts if it ends
        # while a daemon still frees what torch keeps for each thread
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def allow(self, address: str) -> None:
        """Pages from this address may open it, and no others; also where a browser
        calls this machine `localhost`.
        """
        origin = address.rstrip("/")
        self.origins += [origin.replace(HOST, host) for host in HOSTS]

    def close(self) -> None:
        """Takes no more pages, and ends those that are open."""
        self._server.shutdown()
        self._thread.join()
