"""Runs one attempt of a plain function in a process of its own, which can be ended at any moment."""

from __future__ import annotations

import builtins
import contextlib
import importlib
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from launcher_recovery.clock import Clock
from launcher_recovery.errors import CommandError, RecoveryConfigError, StoredError, text_of
from launcher_recovery.operation import Operation, running
from launcher_recovery.persistence import codec
from launcher_recovery.records import AttemptRecord, RecoveryData, StepRecord, Transfer, utc_now

logger = logging.getLogger("launcher_recovery")

# How often a pause, a cancellation or the end of the time is looked for while the child says nothing.
_LOOK_S = 0.02
_GRACE_S = 0.1
# How often the child looks whether its parent is there.
_PARENT_S = 0.2
# The package is where it is here, however it came into this process's path.
_START = "import sys; sys.path.insert(0, sys.argv[1]); from launcher_recovery.isolate import main; main()"
_COMMAND = (sys.executable, "-c", _START, str(Path(__file__).parents[1]))


def check_target(target: Any) -> None:
    """Return if another process can find `target` by its name.

    Raises:
        RecoveryConfigError: it is no function of a module, or one of the program that was started itself.
    """
    name = getattr(target, "__qualname__", "<locals>")
    if "<locals>" in name or "<lambda>" in name or getattr(target, "__module__", None) in (None, "__main__"):
        raise RecoveryConfigError(
            f"isolate=True is not usable for {target!r}: the other process can only import functions and methods "
            "that stand in a module, not local ones and not those of the program's main file"
        )


def run(target: Callable[..., Any], live: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call `target` in a child process for the operation `live`; returns its result or raises its error.

    On POSIX the child leads a process group; whatever ends the attempt ends the whole group within 250 ms.

    Raises:
        TypeError: the arguments or the result are not of the types that can be stored.
        OperationInterrupted, RecoveryTimeoutError: as `Operation.check` does.
        CommandError: the child ended without a word.
        StoredError: the child's error is of a type that cannot be made again here.
    """
    data = live.data
    request = codec.dumps(
        {
            "path": list(sys.path),
            "module": target.__module__,
            "name": target.__qualname__,
            "args": args,
            "kwargs": kwargs,
            "operation": [data.operation_id, data.function_name, data.title, data.attempt, data.watermark],
            "metadata": data.metadata,
        }
    )
    child = subprocess.Popen(
        (*_COMMAND, str(os.getpid())),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    messages: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(child.stdout, messages), name="recovery-isolated", daemon=True)
    reader.start()
    try:
        _write(child.stdin, request)
        while True:
            live.check()
            try:
                line = messages.get(timeout=_LOOK_S)
            except queue.Empty:
                continue
            if line is None:
                _wait_unreaped(child)
                code = _end(child)
                name = f"{target.__module__}.{target.__qualname__}"
                raise CommandError(["the process of", name], code if code >= 0 else 128 - code, "it said nothing")
            message = codec.loads(line)
            if "result" in message:
                return message["result"]
            if "error" in message:
                raise _revived(message["error"])
            _write(child.stdin, codec.dumps(_serve(live, **message)))
    finally:
        _end(child)
        reader.join()
        child.stdout.close()
        with contextlib.suppress(OSError):
            child.stdin.close()


def _read(stream: IO[str], messages: queue.SimpleQueue[str | None]) -> None:
    for line in stream:
        messages.put(line)
    messages.put(None)


def _write(stream: IO[str], text: str) -> None:
    with contextlib.suppress(OSError):  # the child is gone; what it said last is still to be read
        stream.write(text + "\n")
        stream.flush()


def _serve(live: Operation, do: str, given: list[Any]) -> Any:
    """Do for the child what needs the store; the answer goes back to it."""
    if do == "progress":
        live.progress(*given)
    elif do == "resume_at":
        live.resume_at(*given)
    elif do == "kept_step":
        kept = live.kept_step(*given)
        return None if kept is None else [kept.result]
    elif do == "finish_step":
        live.finish_step(*given, is_again=live.kept_step(given[0]) is not None)
    elif do == "kept_transfer":
        transfer = live.kept_transfer(*given)
        return None if transfer is None else vars(transfer)
    elif do == "keep_transfer":
        return live.keep_transfer(Transfer(**given[0]))
    elif do == "save_metadata":
        live.metadata.update(given[0])
        live.save_metadata()
    return None


def _end(child: subprocess.Popen[str]) -> int:
    """End the child and everything that it started; returns its exit status."""
    if child.returncode is not None:
        return child.returncode
    if sys.platform == "win32":
        child.kill()
    else:
        # Before the child is waited for: until then nobody else can get its number.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGTERM)
            _wait_unreaped(child)
            os.killpg(child.pid, signal.SIGKILL)
    return child.wait()


def _wait_unreaped(child: subprocess.Popen[str]) -> None:
    """Wait a moment for the child's end, without freeing its number."""
    if sys.platform != "win32":
        pause = threading.Event()
        for _ in range(int(_GRACE_S / 0.005)):
            if os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return
            pause.wait(0.005)


def _revived(told: dict[str, Any]) -> Exception:
    """The child's error as the exception that it was, else as a StoredError."""
    stored = StoredError(told["name"], told["message"], told["traceback"])
    try:
        found: Any = importlib.import_module(told["module"])
        for part in told["name"].split("."):
            found = getattr(found, part)
        error = found(*told["args"]) if told["args"] is not None else None
    except Exception:
        return stored
    if not isinstance(error, Exception) or text_of(error) != told["message"]:
        return stored
    error.__cause__ = stored
    return error


# -- in the child ----------------------------------------------------------------------------------------


class _Parent:
    """The parent process, as the keeper of the operation."""

    def __init__(self, stdin: IO[str], out: IO[str]) -> None:
        self._stdin = stdin
        self._out = out
        self._lock = threading.Lock()
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._steps_here: dict[str, StepRecord] = {}
        self.store: Any = None  # it is the parent's

    def receive(self) -> str:
        return self._answers.get()

    def listen(self) -> None:
        """Take the parent's answers; when it is gone, so is this process, with all that it started."""
        for line in self._stdin:
            self._answers.put(line)
        self._end()

    def watch_parent(self, pid: int) -> None:
        """End with the parent also when another process, forked from it, has the pipe open still."""
        while os.getppid() == pid:
            time.sleep(_PARENT_S)
        self._end()

    def _end(self) -> None:
        if sys.platform != "win32":
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    def send(self, message: Any) -> None:
        text = codec.dumps(message)
        self._out.write(text + "\n")
        self._out.flush()

    def ask(self, do: str, *given: Any) -> Any:
        with self._lock:
            self.send({"do": do, "given": list(given)})
            return codec.loads(self.receive())

    def current(self, operation_id: str) -> RecoveryData | None:
        return None

    def history(self, operation_id: str) -> list[AttemptRecord]:
        return []

    def is_claimed(self, live: Operation) -> bool:
        return True  # the parent looks, and ends this process

    @property
    def sees_others(self) -> bool:
        return False  # the parent watches

    def watch(self, live: Operation) -> None:
        return

    def save_metadata(self, live: Operation) -> None:
        self.ask("save_metadata", live.data.metadata)

    def begin_progress(self, live: Operation, done: float, total: float | None, unit: str) -> None:
        self.ask("resume_at", done, total, unit)

    def report_progress(
        self, live: Operation, done: float, total: float | None, unit: str, message: str | None
    ) -> None:
        self.ask("progress", done, total, unit, message)

    def kept_step(self, operation_id: str, name: str) -> StepRecord | None:
        if name in self._steps_here:
            return self._steps_here[name]
        kept = self.ask("kept_step", name)
        return None if kept is None else StepRecord(name, utc_now(), kept[0])

    def finish_step(self, live: Operation, name: str, result: Any) -> None:
        self._steps_here.pop(name, None)
        try:
            codec.dumps(result)
        except TypeError as error:
            logger.warning("the result of step %s is not kept (%s): the next attempt runs the step again", name, error)
            self._steps_here[name] = StepRecord(name, utc_now(), result)
        else:
            self.ask("finish_step", name, result)

    def kept_transfer(self, live: Operation, destination: str) -> Transfer | None:
        kept = self.ask("kept_transfer", destination)
        return None if kept is None else Transfer(**kept)

    def keep_transfer(self, live: Operation, transfer: Transfer) -> bool:
        return bool(self.ask("keep_transfer", {**vars(transfer), "journal": dict(transfer.journal)}))


def _told(error: BaseException) -> dict[str, Any]:
    stored = StoredError(type(error).__qualname__, text_of(error))
    with contextlib.suppress(Exception):
        stored = codec.error_to_stored(error)
    args: Any = None
    with contextlib.suppress(Exception):
        # Not `args`: an OSError has its file name only here.
        reduced: Any = error.__reduce__()
        made_by, given = reduced[:2]
        codec.dumps(given)
        args = list(given) if made_by is type(error) else None
    return {
        "module": type(error).__module__ or builtins.__name__,
        "name": type(error).__qualname__,
        "args": args,
        "message": text_of(error),
        "traceback": stored.traceback,
    }


def main() -> None:
    """The child: one call, from the request on the standard input to its result on the standard output."""
    # What the function prints goes to the error stream, so that it does not come between the messages.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    stdin = os.fdopen(os.dup(0), encoding="utf-8")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    parent = _Parent(stdin, out)
    threading.Thread(target=parent.listen, daemon=True).start()
    if sys.platform != "win32":  # where nobody is forked
        threading.Thread(target=parent.watch_parent, args=(int(sys.argv[2]),), daemon=True).start()
    request = codec.loads(parent.receive())
    try:
        sys.path[:] = request["path"]
        target: Any = importlib.import_module(request["module"])
        for part in request["name"].split("."):
            target = getattr(target, part)
        # The decorated function stands where the plain one was.
        target = getattr(target, "__wrapped__", target)
        operation_id, function_name, title, attempt, watermark = request["operation"]
        data = RecoveryData(
            operation_id,
            function_name,
            title=title,
            attempt=attempt,
            watermark=watermark,
            metadata=request["metadata"],
        )
        with running(Operation(data, parent, Clock())):
            message = {"result": target(*request["args"], **request["kwargs"])}
        codec.dumps(message)
    except BaseException as error:
        message = {"error": _told(error)}
    parent.send(message)
