#!/usr/bin/env bash
# MuJoCo 3.17.0 with EGL of Mesa: a renderer whose thread has ended cannot draw in the main thread, seconds later,
# but can in a new thread.
#
# Expected: EGL allows a context in one thread at a time, so a renderer may go from thread to thread once the
#   former one has ended; or, if it may not, then in no thread.
# Seen: render() in the main thread raises EGL_BAD_ACCESS however long the first thread has been over. In a new
#   thread the same call draws the picture. A thread that gives its context back before it ends
#   (eglMakeCurrent without a context) leaves a renderer that draws anywhere.
# Source: mujoco/egl/__init__.py, GLContext: makes its context current, and gives it back in free() alone. Mesa
#   keeps the binding to the ended thread; a new thread probably gets the memory of its record.
# Here: environments draw in any thread, s2robot/envs/rendering.py; checked by
#   tests/unit/envs/test_rendering.py::test_threads_draw_beside_each_other_and_after_another_has_ended
set -euo pipefail
source "$(dirname "$(readlink -f "$0")")/lib.sh"
install env mujoco==3.17.0 numpy==2.4.6 pyopengl==3.1.10
MUJOCO_GL=egl env/bin/python -W ignore - <<'CODE'
import importlib.metadata
import threading
import time

import mujoco
import mujoco.egl
from OpenGL import EGL

MODEL = mujoco.MjModel.from_xml_string(
    '<mujoco><worldbody><geom size=".1" rgba="1 0 0 1"/></worldbody></mujoco>'
)
DATA = mujoco.MjData(MODEL)
mujoco.mj_forward(MODEL, DATA)


def draw(renderer):
    """Say whether the renderer draws in this thread."""
    try:
        renderer.update_scene(DATA)
        return "draws" if renderer.render().any() else "draws nothing"
    except EGL.EGLError as error:
        return str(error.err).split()[0]


def in_thread(work):
    found = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


def made(give_back):
    """Return a renderer that was made in a thread that has ended, and drew there."""

    def work():
        renderer = mujoco.Renderer(MODEL, 32, 32)
        assert draw(renderer) == "draws"
        if give_back:
            none = EGL.EGL_NO_SURFACE
            EGL.eglMakeCurrent(mujoco.egl.EGL_DISPLAY, none, none, EGL.EGL_NO_CONTEXT)
        return renderer

    renderer = in_thread(work)
    time.sleep(2)
    return renderer


print("mujoco", importlib.metadata.version("mujoco"), "on", end=" ")
kept, given_back = made(False), made(True)
print(EGL.eglQueryString(mujoco.egl.EGL_DISPLAY, EGL.EGL_VERSION).decode(), end=", ")
print(EGL.eglQueryString(mujoco.egl.EGL_DISPLAY, EGL.EGL_VENDOR).decode())
seen = {
    "main thread, after 2 s": draw(kept),
    "new thread": in_thread(lambda: draw(kept)),
    "main thread, context given back": draw(given_back),
}
for where, result in seen.items():
    print(f"{where}: {result}")
assert list(seen.values()) == ["EGL_BAD_ACCESS", "draws", "draws"]
CODE
