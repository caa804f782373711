"""A camera that speaks RTSP: GStreamer's server, run by the system's own Python, which has its bindings.

It is told its port and the size of its pictures, and prints its port. A line `WIDTH HEIGHT` on standard input changes
the size while they are sent; with `silent` it accepts everybody and never has a picture.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys

PYTHON = "/usr/bin/python3"  # Debian's, for which python3-gi is
_PROBE = """
import gi
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
assert all(map(Gst.ElementFactory.find, ("x264enc", "rtph264pay")))
"""
_PICTURES = (
    "( videotestsrc is-live=true pattern=red ! capsfilter name=size caps=video/x-raw,width={},height={},framerate=25/1 "
    "! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=5 ! rtph264pay name=pay0 pt=96 config-interval=-1 )"
)
_NOTHING = (
    "( appsrc is-live=true caps=video/x-h264,stream-format=byte-stream,alignment=au ! rtph264pay name=pay0 pt=96 )"
)


def why_not():
    """Why there can be none here; None where there can."""
    if shutil.which(PYTHON) is None:
        return "no Python of the system"
    done = subprocess.run([PYTHON, "-c", _PROBE], capture_output=True, check=False)
    return "apt install python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-ugly" if done.returncode else None


class Camera:
    """A server as a process: it may be killed, frozen and started again on its port."""

    def __init__(self, *words, port=0, size=(64, 48)):
        self._process = subprocess.Popen(
            [PYTHON, __file__, str(port), *map(str, size), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self._process.stdout.readline())
        self.url = f"rtsp://me:s3cret@127.0.0.1:{self.port}/live"

    def resize(self, width, height):
        self._process.stdin.write(f"{width} {height}\n")
        self._process.stdin.flush()

    def freeze(self):
        self._process.send_signal(signal.SIGSTOP)

    def kill(self):
        self._process.kill()
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


def _serve(port, width, height, *words):
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer

    Gst.init(None)
    server, factory, sizes = GstRtspServer.RTSPServer(), GstRtspServer.RTSPMediaFactory(), []
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory.set_launch(_NOTHING if "silent" in words else _PICTURES.format(width, height))
    factory.set_shared(True)
    factory.connect("media-configure", lambda _, media: sizes.append(media.get_element().get_by_name("size")))
    server.get_mount_points().add_factory("/live", factory)
    server.attach(None)
    print(server.get_bound_port(), flush=True)

    def told(channel, _):
        line = channel.readline()
        if not line:
            os._exit(0)
        width, height = line.split()
        for each in sizes:
            each.set_property("caps", Gst.Caps.from_string(f"video/x-raw,width={width},height={height},framerate=25/1"))
        return True

    GLib.io_add_watch(sys.stdin, GLib.PRIORITY_DEFAULT, GLib.IO_IN | GLib.IO_HUP, told)
    GLib.MainLoop().run()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
