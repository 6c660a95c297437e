"""Calls in gevent's greenlets, without a switch for a call that waits for nothing.

One greenlet at a time is the reader, and does the calls that it reads itself. Should a call wait for something, the hub gets
its turn, sees that the reader is at work, and starts another one; the greenlet of the call ends with it. Most calls are over
before, and their greenlet reads on. A call that asks the server something before it waited for anything else reads on itself
until its answer comes; calls that it reads meanwhile get greenlets of their own.

The socket is the process' own, not one of gevent's. Where the hub has nothing else to wait for, the reader waits a moment
without it, which is a third of the way.
"""
from __future__ import annotations

import socket
import struct
import traceback
from typing import TYPE_CHECKING, Any, Dict, Optional

from tern.worker import wire
from tern.worker.call import Call, Lost

if TYPE_CHECKING:
    from tern.worker.runtime import Runtime

_READ, _WRITE = 1, 2
_MOMENT_US, _BY_ITSELF_MAX = 5000, 64


class Greenlets:
    """The readers of a process, and what waits for them."""

    def __init__(self, runtime: "Runtime") -> None:
        import gevent.event  # type: ignore[import-untyped,unused-ignore]
        import gevent.queue  # type: ignore[import-untyped,unused-ignore]
        self._gevent: Any = gevent
        self._runtime = runtime
        self._hub: Any = gevent.get_hub()
        self._loop: Any = self._hub.loop
        sock = runtime.socket
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, _MOMENT_US))
        self._recvmsg = sock.recvmsg
        self._descriptor = sock.fileno()
        self._readable: Any = self._loop.io(self._descriptor, _READ)
        self._by_itself = 0  # times in a row that the reader has waited without the hub
        self._boxes: Dict[int, Any] = {}
        self._at_work = 0  # the call that the reader does, if it does one
        self._turn: Any = self._loop.prepare(ref=False)
        self._turn.start(self._hub_turns)
        self._ended: Any = gevent.event.Event()

    # ---- the socket

    def receive(self) -> Any:
        """recvmsg() of the next frame."""
        while True:
            # What the hub looks at without counting it (signals) is late by a moment, and by so many calls, at most.
            if self._loop.activecnt == 0 and self._by_itself < _BY_ITSELF_MAX:
                self._by_itself += 1
                try:
                    got = self._recvmsg(wire.FRAME_MAX, wire.ANCILLARY)
                    self._loop.update_now()  # for what the script will measure from it
                    return got
                except BlockingIOError:
                    pass
            self._by_itself = 0
            self._hub.wait(self._readable)
            try:
                return self._recvmsg(wire.FRAME_MAX, wire.ANCILLARY, socket.MSG_DONTWAIT)
            except BlockingIOError:
                pass

    def wait_writable(self) -> None:
        self._hub.wait(self._loop.io(self._descriptor, _WRITE))

    # ---- reading

    def serve(self) -> None:
        self._gevent.spawn(self._read_on)
        self._ended.wait()
        while self._runtime.calls:  # under way: the server still reads what they answer
            self._gevent.sleep(0.01)

    def _end(self) -> None:
        self._ended.set()
        for box in list(self._boxes.values()):
            box.put(None)

    def _read_on(self) -> None:
        """Until the end, or until somebody else is the reader."""
        # The hub may have had _hub_turns() before this greenlet in the same turn: so the first call comes in another one.
        self._by_itself = _BY_ITSELF_MAX
        try:
            while True:
                frame = self._runtime.read()
                if frame is None:
                    self._end()
                    return
                if frame.type != wire.CALL:
                    self._hand_over(frame)
                elif not self._do(frame):
                    return
        except Lost:
            self._end()
        except Exception:
            traceback.print_exc()
            self._end()

    def _hand_over(self, frame: wire.Frame) -> None:
        box = self._boxes.get(frame.call)
        if box is not None:
            box.put(frame)

    def _hub_turns(self) -> None:
        """In the hub, before it waits: whoever is at work waits for something."""
        if self._at_work:
            self._at_work = 0
            self._gevent.spawn(self._read_on)

    def _is_reader(self, call: int) -> bool:
        """Whether the hub had no turn since the call's greenlet went to work. It is not at work any more then."""
        if self._at_work != call:
            return False
        self._at_work = 0
        return True

    # ---- calls

    def _do(self, frame: wire.Frame) -> bool:
        """Does a call that was just read. false: its greenlet is not the reader any more."""
        self._at_work = frame.call
        try:
            self._runtime.do(frame)
        finally:
            self._boxes.pop(frame.call, None)
            still = self._is_reader(frame.call)
        return still

    def _do_alone(self, frame: wire.Frame) -> None:
        try:
            self._runtime.do(frame)
        except Lost:
            pass
        finally:
            self._boxes.pop(frame.call, None)

    def ask(self, call: Call, frame: bytes) -> wire.Frame:
        """Sends a frame about a call, and waits for the server's answer to it."""
        if self._is_reader(call.id):
            return self._ask_and_read(call, frame)
        box = self._boxes.get(call.id)
        if box is None:
            box = self._boxes[call.id] = self._gevent.queue.SimpleQueue()
        if self._ended.is_set():
            raise Lost()
        self._runtime.send(frame)
        answer: Optional[wire.Frame] = box.get()
        if answer is None:
            raise Lost()
        return answer

    def _ask_and_read(self, call: Call, frame: bytes) -> wire.Frame:
        try:
            self._runtime.send(frame)
            while True:
                answer = self._runtime.read()
                if answer is None:
                    self._end()
                    raise Lost()
                if answer.type == wire.CALL:
                    self._gevent.spawn(self._do_alone, answer)
                elif answer.call == call.id:
                    return answer
                else:
                    self._hand_over(answer)
        finally:
            self._at_work = call.id
