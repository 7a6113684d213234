"""Video to arrays: decoded by PyAV, in grey, at the size and the rate that the file has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from mmbench.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from numpy.typing import NDArray


#: Formats whose first plane is luma: from 16 to 235, unless a frame says otherwise; from 0 to 255.
NARROW = ("yuv420p", "yuv422p", "yuv444p", "nv12")
FULL = ("yuvj420p", "yuvj422p", "yuvj444p", "gray")
#: What a frame says that has all 256 levels (AVCOL_RANGE_JPEG).
FULL_RANGE = 2
#: Level of 16 to 235 -> of 0 to 255 (ITU-R BT.601).
_WIDENED = np.clip(np.rint((np.arange(256) - 16) * 255 / 219), 0, 255).astype(np.uint8)


def library() -> Any:
    """Import PyAV, or say which extra brings it."""
    try:
        import av
    except ModuleNotFoundError:
        raise MissingExtraError("PyAV, which decodes video,", "media") from None
    return av


def versions() -> dict[str, str]:
    """Return the versions of what decodes, for the key of a cache."""
    av = library()
    libraries = {name: ".".join(map(str, v)) for name, v in av.library_versions.items()}
    return {"av": av.__version__, "libavcodec": libraries.get("libavcodec", "")}


class UndecodableError(Exception):
    """Why a video cannot be decoded; whoever catches it knows which one."""


def decode(source: Path | IO[bytes], grey: Callable[[Any], NDArray[np.uint8]]) -> list[Any]:
    """Decode the first video stream; its sound is not looked at.

    Args:
        source: A file, or one that is open: MP4 and whatever else FFmpeg reads.
        grey: Turns a frame of PyAV into [H, W].

    Returns:
        At least one frame [H, W].

    Raises:
        UndecodableError: It is missing, cut off, no video, or empty.
    """
    av = library()
    try:
        with av.open(str(source) if isinstance(source, Path) else source) as container:
            if not container.streams.video:
                raise UndecodableError("holds no video")
            stream = container.streams.video[0]
            promised = int(stream.frames)  # 0 where the container does not say
            frames = [grey(frame) for frame in container.decode(stream)]
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UndecodableError(_why(source, error)) from None
    if len(frames) < promised and _samples(source) < promised:
        raise UndecodableError(f"is cut off: it promises {promised} frames and has {len(frames)}")
    if not frames:
        raise UndecodableError("holds no frame")
    return frames


def _samples(source: Path | IO[bytes]) -> int:
    """Return how many frames of the first video stream are in the file.

    A clip that was trimmed without encoding it anew keeps frames that are not to be shown, which
    the list of edits of an MP4 says.
    """
    av = library()
    if not isinstance(source, Path):
        source.seek(0)
    try:
        with av.open(
            str(source) if isinstance(source, Path) else source, options={"ignore_editlist": "1"}
        ) as container:
            stream = container.streams.video[0]
            return sum(packet.size > 0 for packet in container.demux(stream))
    except (av.FFmpegError, OSError, ValueError):
        return 0


def read(path: Path, label: str) -> NDArray[np.uint8]:
    """Decode the first video stream of a file; its sound is not looked at.

    Args:
        path: MP4 and whatever else FFmpeg reads.
        label: What to call it in an error, e.g. its row.

    Returns:
        [T, H, W] uint8, grey: luma from black, 0, to white, 255.

    Raises:
        DataError: It is missing, cut off, no video, or empty.
    """
    try:
        return np.stack(decode(path, _grey))
    except UndecodableError as error:
        raise DataError(f"{path}: {error} ({label}): copy the file again from its source") from None


def _grey(frame: Any) -> NDArray[np.uint8]:
    """Return the luma of a frame: [H, W].

    Where it is a plane of its own, that is taken: FFmpeg's conversion of a small frame takes
    several times as long as decoding it.
    """
    kind = frame.format.name
    if kind not in (*NARROW, *FULL):
        return np.asarray(frame.to_ndarray(format="gray"), dtype=np.uint8)
    plane = frame.planes[0]
    rows = np.frombuffer(plane, dtype=np.uint8).reshape(-1, plane.line_size)
    luma = rows[: frame.height, : frame.width]
    if kind in FULL or int(frame.color_range) == FULL_RANGE:
        return luma.copy()
    return _WIDENED[luma]


def _why(source: Path | IO[bytes], error: Exception) -> str:
    if isinstance(source, Path):
        if not source.exists():
            return "there is no such file"
        if source.stat().st_size == 0:
            return "is an empty file"
    told = getattr(error, "strerror", None) or type(error).__name__
    return f"cannot be decoded as video: {told}"
