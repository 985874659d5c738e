"""Uploads out of a request, in whichever form they come; a request may be neither large nor slow.

A request is cut off that comes too slowly (status 408), is too large (413), or has no image in it
(400, 415).
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from pipeline.classifier.serving.jobs import RefusedError, Upload
from pipeline.classifier.serving.service import Service

# Whoever sends may be silent for so long, and needs no more than a second for so many bytes.
SILENT_SECONDS = 10.0
LEAST_BYTES_A_SECOND = 16 * 2**10
_DRAIN_SECONDS = 2.0
_MULTIPART = "multipart/form-data"
_RAW = ("image/", "application/octet-stream")
_HOW_TO_SEND = (
    "Expected files of a form (curl -F file=@photo.jpg), or the bytes of an image file with a "
    "content type of image/... or application/octet-stream, or none (curl -X POST -T photo.jpg)."
)


class Receiver:
    """Reads a request's uploads.

    Args:
        service: that bounds what all requests hold.
        most_bytes: of a request.
        silent_seconds: see `SILENT_SECONDS`.
    """

    def __init__(
        self, service: Service, most_bytes: int, silent_seconds: float = SILENT_SECONDS
    ) -> None:
        self._service = service
        self._most_bytes = most_bytes
        self._silent_seconds = silent_seconds

    @asynccontextmanager
    async def receive(self, request: Request) -> AsyncIterator[list[Upload]]:
        """The uploads; their bytes are counted as held as long as the context is.

        Raises:
            RefusedError: there are none, or they are too many bytes, or too slow in coming.
        """
        kind = request.headers.get("content-type", _RAW[1]).partition(";")[0].strip().lower()
        if kind != _MULTIPART and not kind.startswith(_RAW):
            raise RefusedError(415, f"{_HOW_TO_SEND} Received: content type {kind}")
        body = _Body(request, self._service, self._most_bytes, self._silent_seconds)
        try:
            if kind == _MULTIPART:
                uploads = await self._read_files(request, body)
            else:
                data = b"".join([chunk async for chunk in body.stream()])
                uploads = [Upload(None, data)]
            if not any(upload.data for upload in uploads):
                raise RefusedError(400, f"No image was sent. {_HOW_TO_SEND}")
            yield uploads
        finally:
            self._service.hold_bytes(-body.n_bytes)

    async def _read_files(self, request: Request, body: "_Body") -> list[Upload]:
        most = self._service.queue
        parser = MultiPartParser(request.headers, body.stream(), max_files=most, max_fields=most)
        try:
            form = await parser.parse()
        except MultiPartException as error:
            raise RefusedError(400, f"The form cannot be read: {error.message}") from error
        try:
            files = [one for _, one in form.multi_items() if isinstance(one, UploadFile)]
            return [
                Upload(Path(file.filename) if file.filename else None, await file.read())
                for file in files
            ]
        finally:
            await form.close()


class _Body:
    """A request's body as it comes, and how many of its bytes are held."""

    def __init__(
        self, request: Request, service: Service, most_bytes: int, silent_seconds: float
    ) -> None:
        self.n_bytes = 0
        self._request = request
        self._service = service
        self._most_bytes = most_bytes
        self._silent_seconds = silent_seconds

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Its pieces.

        Raises:
            RefusedError: it is too large or too slow, or whoever sends it is gone.
        """
        chunks = aiter(self._request.stream())
        await self._require_length(chunks)
        now = asyncio.get_running_loop().time
        start = now()
        while True:
            slowest = start + self._silent_seconds + self.n_bytes / LEAST_BYTES_A_SECOND
            try:
                async with asyncio.timeout_at(min(slowest, now() + self._silent_seconds)):
                    chunk = await anext(chunks, None)
            except TimeoutError:
                raise RefusedError(408, self._describe_slowness(now() - start)) from None
            except ClientDisconnect:
                raise RefusedError(499, "Whoever sent it is gone") from None
            if chunk is None:
                return
            try:
                self._take(len(chunk))
            except RefusedError:
                await self._drain(chunks)
                raise
            yield chunk

    def _take(self, n_bytes: int) -> None:
        if self.n_bytes + n_bytes > self._most_bytes:
            raise RefusedError(413, self._describe_size(f"more than {self._most_bytes:,}"))
        self._service.hold_bytes(n_bytes)
        self.n_bytes += n_bytes

    async def _require_length(self, chunks: AsyncIterator[bytes]) -> None:
        """Refuses what says itself that it is too large."""
        length = int(self._request.headers.get("content-length", "0"))
        if length > self._most_bytes:
            await self._drain(chunks)
            raise RefusedError(413, self._describe_size(f"{length:,}"))

    def _describe_size(self, received: str) -> str:
        return (
            f"The request is too large. Expected at most {self._most_bytes:,} bytes. "
            f"Received: {received}"
        )

    def _describe_slowness(self, seconds: float) -> str:
        return (
            f"The request comes too slowly. Expected {LEAST_BYTES_A_SECOND:,} bytes a second after "
            f"{self._silent_seconds:g} seconds. Received: {self.n_bytes:,} bytes in {seconds:.0f} "
            "seconds"
        )

    async def _drain(self, chunks: AsyncIterator[bytes]) -> None:
        """Lets the rest of what is refused go by for a moment: many look for an answer only when
        they have sent it all."""
        with suppress(TimeoutError, ClientDisconnect):
            async with asyncio.timeout(_DRAIN_SECONDS):
                async for _ in chunks:
                    pass
