"""The process that runs a script: reads calls from the server's socket, and answers them.

One thread at a time reads. When what it read is a call, it lets another thread read on and does the call itself, so that
a call crosses no queue. With gevent it is a greenlet (greenlets.py). With room for one call only there is one thread,
which reads on itself while its call waits for the server.
"""
from __future__ import annotations

import argparse
import ctypes
import importlib
import mmap
import os
import queue
import signal
import socket
import struct
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Dict, List, Optional, Tuple

from tern.worker import wire
from tern.worker.call import Call, Lost
from tern.worker.memory import Segments
from tern.worker.script import Script, load, path_of

if TYPE_CHECKING:
    from tern.worker.greenlets import Greenlets

SOCKET, PAGE = 3, 4
_U64 = struct.Struct("<Q")
_PR_SET_PDEATHSIG = 1


class Runtime:
    """State of this process."""

    def __init__(self, sock: socket.socket, page: mmap.mmap, generation: str, several: bool, timeout: int,
                 capacity: int) -> None:
        self.socket = sock
        self.page = page
        self.generation = generation
        self.several = several
        self.timeout = timeout
        self.capacity = capacity
        self.segments = Segments()
        self.script: Script
        self.greenlets: "Optional[Greenlets]" = None
        self.calls: Dict[int, Call] = {}
        self._begun = 0
        self._boxes: Dict[int, "queue.SimpleQueue[Optional[wire.Frame]]"] = {}
        self._reading = threading.Lock()
        self._counting = threading.Lock()
        self._threads = 0
        self._idle = 0
        self._over = False

    # ---- frames

    def send(self, frame: bytes) -> None:
        try:
            self.socket.send(frame, 0 if self.greenlets is None else socket.MSG_DONTWAIT)
        except BlockingIOError:
            assert self.greenlets is not None
            self.greenlets.wait_writable()
            self.send(frame)
        except OSError:
            raise Lost() from None

    def read(self) -> Optional[wire.Frame]:
        """The next frame that is for a call; None: the server has closed."""
        greenlets = self.greenlets
        while True:
            try:
                message, control, _, _ = (greenlets.receive() if greenlets is not None else
                                          self.socket.recvmsg(wire.FRAME_MAX, wire.ANCILLARY))
            except OSError:
                return None
            if not message:
                return None
            frame = wire.Frame(message)
            if frame.type == wire.MAP:
                self._map(frame, control)
            elif frame.type == wire.FORGET:
                gone = frame.ref(wire.TAG_SEGMENT)
                if gone is not None:
                    self.segments.forget(gone.segment)
            elif frame.type == wire.CANCEL:
                call = self.calls.get(frame.call)
                if call is not None:
                    call.cancelled = True
            else:
                return frame

    def _map(self, frame: wire.Frame, control: "List[tuple[int, int, bytes]]") -> None:
        descriptors: List[int] = []
        for level, kind, data in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                count = len(data) // 4
                descriptors += struct.unpack(f"<{count}i", data[:count * 4])
        refs = [wire.refs_of(value) for tag, _, value in frame.fields if tag == wire.TAG_MAP]
        for ref, descriptor in zip(refs, descriptors):
            self.segments.add(ref.segment, ref.size, descriptor)

    def ask(self, call: Call, frame: bytes) -> wire.Frame:
        """Sends a frame about a call, and waits for the server's answer to it."""
        if self.greenlets is not None:
            return self.greenlets.ask(call, frame)
        if self.capacity == 1:
            self.send(frame)
            while True:
                answer = self.read()
                if answer is None:
                    raise Lost()
                if answer.call == call.id:
                    return answer
        box = self._boxes.get(call.id)
        if box is None:
            box = self._boxes[call.id] = queue.SimpleQueue()
        if self._over:  # whoever read the end may have looked at the boxes before
            raise Lost()
        self.send(frame)
        got = box.get()
        if got is None:
            raise Lost()
        return got

    # ---- calls

    def do(self, frame: wire.Frame) -> None:
        if frame.call > self._begun:
            self._begun = frame.call
            _U64.pack_into(self.page, 0, frame.call)
        call = Call(self, frame)
        self.calls[frame.call] = call
        try:
            self.send(call.run())
        finally:
            del self.calls[frame.call]

    def _one(self) -> None:
        """The only thread."""
        while True:
            frame = self.read()
            if frame is None:
                return
            if frame.type == wire.CALL:
                self.do(frame)

    def _next_call(self) -> Optional[wire.Frame]:
        """Reads until a call comes. One thread at a time."""
        with self._counting:
            self._idle += 1
        with self._reading:
            with self._counting:
                self._idle -= 1
            while not self._over:
                frame = self.read()
                if frame is None:
                    self._over = True
                    for box in list(self._boxes.values()):
                        box.put(None)
                    break
                if frame.type == wire.CALL:
                    return frame
                waiting = self._boxes.get(frame.call)
                if waiting is not None:
                    waiting.put(frame)
        return None

    def _thread(self) -> None:
        while True:
            frame = self._next_call()
            if frame is None:
                return
            # Somebody must read while this thread is busy.
            if self._idle == 0 and self._threads <= self.capacity:
                self._start_thread()
            try:
                self.do(frame)
            except Lost:
                return
            finally:
                self._boxes.pop(frame.call, None)

    def _start_thread(self) -> None:
        self._threads += 1
        threading.Thread(target=self._thread, name=f"tern-call-{self._threads}", daemon=True).start()

    def serve(self) -> None:
        try:
            if self.greenlets is not None:
                self.greenlets.serve()
                return
            if self.capacity == 1:
                self._one()
                return
            self._threads += 1
            self._thread()
            while self.calls:  # under way: the server still reads what they answer
                threading.Event().wait(0.01)
        except Lost:
            pass


def end_with_parent(parent: int) -> None:
    """The kernel is to end this process when the server's has ended."""
    try:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    except (OSError, AttributeError):
        return
    if parent and os.getppid() != parent:
        os._exit(1)


def _capacity(worker_class: str, threads: int, calls: int) -> Tuple[int, bool]:
    """Calls at a time of one process, and whether in greenlets; then the standard library is patched for them."""
    if worker_class == "sync":
        return threads, False  # as gunicorn: with threads it becomes gthread
    if worker_class in ("gthread", "tornado"):
        return threads, False
    if worker_class in ("gevent", "gevent_wsgi", "gevent_pywsgi", "eventlet"):
        try:
            import gevent.monkey  # type: ignore[import-untyped,unused-ignore]
        except ImportError:
            return max(threads, min(calls, 16)), False
        gevent.monkey.patch_all()
        return calls, True
    raise RuntimeError(f"class uri {worker_class!r} invalid or not found: there is no such worker class")


def _arguments(arguments: Optional[List[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tern.worker", description="Runs a handler script for the Tern server.")
    parser.add_argument("--code", required=True, help="folder of inference.py")
    parser.add_argument("--generation", choices=["2.19", "2.20"], default="2.20")
    parser.add_argument("--several", action="store_true", help="one of several models")
    parser.add_argument("--timeout", type=int, default=60)
    parser.add_argument("--worker-class", default="gevent")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--calls", type=int, default=128, help="calls at a time with gevent")
    parser.add_argument("--parent", type=int, default=0, help="process id of the server")
    parser.add_argument("--requirements", action="store_true", help="install requirements.txt first")
    return parser.parse_args(arguments)


def _prepare_path(options: argparse.Namespace) -> None:
    if options.requirements:
        from tern.worker import requirements
        folders = requirements.folders_of(options.code)
        for folder in reversed(folders):
            if folder in sys.path:
                sys.path.remove(folder)
            sys.path.insert(0, folder)
        os.environ["PYTHONPATH"] = os.pathsep.join(folders)  # for processes that the script starts


def _stubs() -> None:
    """tensorflow_serving.apis without TensorFlow, for scripts that want only its messages."""
    try:
        stubs = importlib.import_module("tern.serving_stubs")
    except ImportError:
        return
    install = getattr(stubs, "install", None)
    if install is not None:
        install()


def main(arguments: Optional[List[str]] = None) -> int:
    options = _arguments(arguments)
    end_with_parent(options.parent)
    raw = socket.socket(fileno=SOCKET)
    pause = 0
    try:
        pause = 5
        _prepare_path(options)
        pause = 0
        capacity, in_greenlets = _capacity(options.worker_class, options.threads, options.calls)
        page = mmap.mmap(PAGE, 4096)
        runtime = Runtime(raw, page, options.generation, options.several, options.timeout, capacity)
        if in_greenlets:
            from tern.worker.greenlets import Greenlets
            runtime.greenlets = Greenlets(runtime)
        _stubs()
        runtime.script = load(path_of(options.code))
    except BaseException as error:
        if not pause:
            traceback.print_exc()
        reason = str(error) if pause else f"{type(error).__name__}: {error}"
        fields: List[wire.Field] = [(wire.TAG_ERROR, 0, reason.encode("utf-8", "backslashreplace")[:1000])]
        if pause:
            fields.append(wire.u64(wire.TAG_SIZE, pause))
        os.write(SOCKET, wire.frame(wire.FAILED, 0, fields))
        return 1
    runtime.send(wire.frame(wire.READY, 0, [wire.u64(wire.TAG_CAPACITY, capacity),
                                            (wire.TAG_NOTE, 0, runtime.script.kind.encode())]))
    runtime.serve()
    sys.stdout.flush()
    sys.stderr.flush()
    return 0
