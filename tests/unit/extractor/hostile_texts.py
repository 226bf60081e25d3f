"""Small hostile and broken mails, tables, data and RTF, made in memory."""

import base64
import zlib


def nested_multiparts(depth: int) -> bytes:
    """A mail whose only part is in parts of parts."""
    begin = b"".join(b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (n, n) for n in range(depth))
    return b"From: a@example.com\r\nSubject: deep\r\nMIME-Version: 1.0\r\n" + begin + b"\r\ninnermost words\r\n"


def nested_mails(depth: int) -> bytes:
    """A mail in a mail in a mail, with words in each of them."""
    mail = b"Subject: innermost\r\nFrom: a@example.com\r\n\r\nthe last words\r\n"
    for n in range(depth):
        mail = (
            b"Subject: level %d\r\nFrom: a@example.com\r\nMIME-Version: 1.0\r\n"
            b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n'
            b"--b%d\r\n\r\nwords of level %d\r\n--b%d\r\nContent-Type: message/rfc822\r\n\r\n%b\r\n--b%d--\r\n"
        ) % (n, n, n, n, n, mail, n)
    return mail


def mail_with(*attachments: tuple[str, str, bytes], body: str = "Hello", subject: str = "Files") -> bytes:
    """A mail with attachments of a name, a type and bytes each."""
    parts = [b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + body.encode()]
    for name, kind, content in attachments:
        head = f'Content-Type: {kind}\r\nContent-Disposition: attachment; filename="{name}"'
        parts.append(head.encode() + b"\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(content))
    head = f"Subject: {subject}\r\nFrom: a@example.com\r\nTo: b@example.com\r\nMIME-Version: 1.0\r\nContent-Type: "
    boundary = b'multipart/mixed; boundary="frontier"\r\n\r\n'
    return head.encode() + boundary + b"".join(b"--frontier\r\n%b\r\n" % part for part in parts) + b"--frontier--\r\n"


def many_attachments(count: int) -> bytes:
    return mail_with(*((f"{n}.txt", "text/plain", b"words %d" % n) for n in range(count)))


def billion_laughs() -> bytes:
    laughs = b"".join(b'<!ENTITY l%d "%b">' % (n + 1, b"&l%d;" % n * 10) for n in range(12))
    return b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "haha ">%b]><x>&l12;</x>' % laughs


def foreign_entity(path: str) -> bytes:
    system = path.encode()
    return b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file://%b">]><x>before &e; after</x>' % system


def nested_xml(depth: int) -> bytes:
    return b'<?xml version="1.0"?>' + b"<a>" * depth + b"words" + b"</a>" * depth


def nested_json(depth: int) -> bytes:
    return b"[" * depth + b"1" + b"]" * depth


def multiplying_json(names: int, name_bytes: int) -> bytes:
    """Few values below a name so long that writing it beside each of them would take gigabytes."""
    fields = b",".join(b'"%d":1' % n for n in range(names))
    return b'{"%b":{%b}}' % (b"n" * name_bytes, fields)


def nested_rtf(depth: int) -> bytes:
    return b"{\\rtf1\\ansi " + b"{" * depth + b"words" + b"}" * depth + b"}"


def wide_table(size: int) -> bytes:
    """Values without a line end."""
    return b"name,price\r\n" + b"x," * (size // 2)


def open_quote(size: int) -> bytes:
    return b'name,price\r\n"' + b"line of a value that never ends\r\n" * (size // 33)


def hwp_record(tag: int, level: int, content: bytes) -> bytes:
    size = len(content)
    head = (min(size, 0xFFF) << 20 | level << 10 | tag).to_bytes(4, "little")
    return head + (size.to_bytes(4, "little") if size >= 0xFFF else b"") + content


def deflated(content: bytes) -> bytes:
    packing = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packing.compress(content) + packing.flush()
