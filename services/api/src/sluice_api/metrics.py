"""What the gateway counts."""

from prometheus_client import CollectorRegistry, Counter, Histogram

DURATION_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
SEARCH_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

MEDIA_TYPES = frozenset(
    {
        "application/epub+zip",
        "application/json",
        "application/msword",
        "application/pdf",
        "application/rtf",
        "application/vnd.ms-excel",
        "application/vnd.ms-powerpoint",
        "application/vnd.oasis.opendocument.presentation",
        "application/vnd.oasis.opendocument.spreadsheet",
        "application/vnd.oasis.opendocument.text",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "application/x-hwp",
        "application/xml",
        "application/zip",
        "image/gif",
        "image/jpeg",
        "image/png",
        "image/tiff",
        "image/webp",
        "message/rfc822",
        "text/css",
        "text/csv",
        "text/html",
        "text/markdown",
        "text/plain",
        "text/xml",
    }
)
"""Types that may stand in a label or in the header of a download; all others are `OTHER_TYPE`."""

OTHER_TYPE = "application/octet-stream"

REFUSALS_OF_OURS = ("queue_full", "storage_full", "unavailable", "internal")
"""Codes of refused uploads at which clients can do nothing but wait."""


class GatewayMetrics:
    """How many requests there are, how long they take, and what is taken in."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "sluice_http_requests_total",
            "Requests that the gateway has answered.",
            ["route", "method", "status"],
            registry=registry,
        )
        self._request_duration = Histogram(
            "sluice_http_request_duration_seconds",
            "Time from a request's headers to the end of its answer.",
            ["route", "method"],
            buckets=DURATION_BUCKETS_S,
            registry=registry,
        )
        self._submitted = Counter(
            "sluice_documents_submitted_total",
            "Documents that were taken in, by the type that the client declared.",
            ["media_type"],
            registry=registry,
        )
        self._upload_bytes = Counter(
            "sluice_upload_bytes_total",
            "Bytes of originals that clients have sent, refused ones too.",
            registry=registry,
        )
        self._refused = Counter(
            "sluice_uploads_refused_total",
            "Uploads with a good key that were refused, by the code of the answer.",
            ["code"],
            registry=registry,
        )
        for code in REFUSALS_OF_OURS:
            self._refused.labels(code)  # shown as 0 from the start, or nobody could see the first one as an increase
        self._search_duration = Histogram(
            "sluice_search_duration_seconds",
            "Time one search took, the embedding of its query included.",
            buckets=SEARCH_BUCKETS_S,
            registry=registry,
        )

    def request_finished(self, *, route: str, method: str, status: int, duration_s: float) -> None:
        """Count an answered request under its route's template."""
        self._requests.labels(route, method, str(status)).inc()
        self._request_duration.labels(route, method).observe(duration_s)

    def document_submitted(self, declared_type: str | None) -> None:
        """Count a document for which a new original was stored."""
        self._submitted.labels(known_type(declared_type)).inc()

    def upload_refused(self, code: str) -> None:
        """Count an upload that was answered with a problem; *code* is one of the closed list."""
        self._refused.labels(code).inc()

    def bytes_received(self, count: int) -> None:
        """Count bytes of an original, whatever becomes of it."""
        self._upload_bytes.inc(count)

    def search_finished(self, duration_s: float) -> None:
        """Count a search that was answered."""
        self._search_duration.observe(duration_s)


def known_type(media_type: str | None) -> str:
    """The type itself when it is one of the closed list, else `application/octet-stream`."""
    return media_type if media_type in MEDIA_TYPES else OTHER_TYPE
