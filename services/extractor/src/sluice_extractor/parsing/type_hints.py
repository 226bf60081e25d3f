"""Compares what a document was said to be with what it is."""

from sluice_extractor.parsing.original import Original
from sluice_extractor.parsing.page import Remark

# For each kind: the endings of names, and the media types, that claim it.
_CLAIMS = {
    "PDF": (".pdf", "application/pdf application/x-pdf"),
    "HTML": (".html .htm .xhtml .shtml", "text/html application/xhtml+xml"),
    "Markdown": (".md .markdown .mdown .mkd .mkdn .mdx", "text/markdown text/x-markdown"),
    "text": (".txt .text .log", "text/plain"),
    "CSV": (".csv", "text/csv application/csv"),
    "TSV": (".tsv .tab", "text/tab-separated-values"),
    "JSON": (".json .jsonl .ndjson .geojson", "application/json application/x-ndjson application/geo+json"),
    "notebook": (".ipynb", "application/x-ipynb+json"),
    "XML": (".xml", "application/xml text/xml"),
    "SVG": (".svg", "image/svg+xml"),
    "RTF": (".rtf", "application/rtf text/rtf"),
    "e-mail": (".eml", "message/rfc822"),
    "web archive": (".mht .mhtml", "multipart/related"),
    "Outlook message": (".msg", "application/vnd.ms-outlook"),
    "HWP": (".hwp", "application/x-hwp application/haansofthwp application/vnd.hancom.hwp"),
    "HWPX": (".hwpx", "application/hwp+zip application/vnd.hancom.hwpx"),
    "SRT": (".srt", "application/x-subrip text/srt"),
    "VTT": (".vtt", "text/vtt"),
    "reStructuredText": (".rst", "text/x-rst text/prs.fallenstein.rst"),
    "AsciiDoc": (".adoc .asciidoc", "text/asciidoc"),
    "Org": (".org", "text/org"),
    "DOC": (".doc .dot", "application/msword"),
    "XLS": (".xls .xlt", "application/vnd.ms-excel"),
    "PPT": (".ppt .pps", "application/vnd.ms-powerpoint"),
    "DOCX": (".docx .docm .dotx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    "XLSX": (".xlsx .xlsm .xltx .xlsb", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    "PPTX": (".pptx .pptm .ppsx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    "ODT": (".odt .ott", "application/vnd.oasis.opendocument.text"),
    "ODS": (".ods .ots", "application/vnd.oasis.opendocument.spreadsheet"),
    "ODP": (".odp .otp", "application/vnd.oasis.opendocument.presentation"),
    "EPUB": (".epub", "application/epub+zip"),
    "image": (
        ".png .jpg .jpeg .jpe .gif .tif .tiff .webp .bmp .dib .jp2 .j2k .avif",
        "image/png image/jpeg image/jpg image/gif image/tiff image/webp image/bmp image/x-ms-bmp image/jp2 image/avif",
    ),
    "recording": (
        ".mp3 .wav .flac .ogg .oga .opus .m4a .m4b .aac .webm .mka .mkv .mp4 .m4v .mov .ogv",
        """audio/mpeg audio/mp3 audio/wav audio/x-wav audio/vnd.wave audio/flac audio/x-flac audio/ogg audio/opus
        audio/mp4 audio/x-m4a audio/aac audio/webm video/mp4 video/webm video/ogg video/quicktime video/x-matroska""",
    ),
    "ZIP archive": (".zip", "application/zip application/x-zip-compressed"),
}
_KIND_BY_SUFFIX = {suffix: kind for kind, (suffixes, _) in _CLAIMS.items() for suffix in suffixes.split()}
_KIND_BY_TYPE = {media_type: kind for kind, (_, types) in _CLAIMS.items() for media_type in types.split()}

# Kinds that are texts, so that "text" is never wrong about them; and kinds that are one more thing besides.
_TEXTS = frozenset(
    {"Markdown", "HTML", "CSV", "TSV", "JSON", "notebook", "XML", "SVG", "SRT", "VTT"}
    | {"reStructuredText", "AsciiDoc", "Org", "e-mail", "web archive"}
)
_ALSO = {
    ("SVG", "XML"),
    ("notebook", "JSON"),
    ("web archive", "e-mail"),
    ("TSV", "CSV"),
    ("CSV", "XLS"),  # what some browsers send for it
    ("HTML", "XML"),
    ("SVG", "image"),
    ("HWPX", "HWP"),
    *((kind, "ZIP archive") for kind in ("DOCX", "XLSX", "PPTX", "ODT", "ODS", "ODP", "EPUB", "HWPX")),
}


def claims_recording(original: Original) -> bool:
    """Whether its name or its declared type says that it is a recording."""
    return "recording" in {_KIND_BY_SUFFIX.get(original.suffix), _KIND_BY_TYPE.get(original.hinted_type)}


def mismatches(original: Original, media_type: str) -> list[Remark]:
    """A remark where the name or the declared type claims another kind than the one that was found."""
    found = _KIND_BY_TYPE.get(media_type)
    claims = {
        "name": _KIND_BY_SUFFIX.get(original.suffix),
        "declared type": _KIND_BY_TYPE.get(original.hinted_type),
    }
    wrong = [(by, kind) for by, kind in claims.items() if found and kind and not _agree(found, kind)]
    said = " and ".join(f"its {by} says {kind}" for by, kind in wrong)
    return [Remark("type_mismatch", f"The document is {found}; {said}.")] if wrong else []


def _agree(found: str, claimed: str) -> bool:
    return found == claimed or (claimed == "text" and found in _TEXTS) or (found, claimed) in _ALSO
