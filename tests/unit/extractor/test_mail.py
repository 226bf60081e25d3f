import struct
from email.message import EmailMessage

import pytest
from unit.extractor import hostile_files, hostile_texts
from unit.extractor.ole_files import compound_file

from sluice_common.errors import CorruptDocument, Encrypted
from sluice_extractor.parsing.by_type import open_document
from sluice_extractor.parsing.mail_headers import decoded_header
from sluice_extractor.parsing.original import Original


def read(content: bytes, name: str = "a.eml"):
    """The text, the path of headings as (level, title), and the remarks of a mail."""
    document = open_document(Original(content, name))
    pages = list(document.pages)
    headings = [(heading.level, heading.title) for page in pages for heading in page.headings]
    return "".join(page.text for page in pages), headings, document.remarks


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("=?ks_c_5601-1987?B?yLiwxyC+yLO7?=", "회건 안내"),
        ("=?EUC-KR?Q?=C8=B8=C0=C7?= =?EUC-KR?Q?=20=BE=C8=B3=BB?=", "회의 안내"),
        ("=?utf-8?B?7ZqM7J2Y?=\r\n =?utf-8?B?IOyViOuCtA==?=", "회의 안내"),
        ("=?utf-8?B?7ZqM7J0=?= =?utf-8?B?mCDslYjrgrQ=?=", "회의 안내"),
        ("Re: =?iso-8859-1?q?caf=E9_au_lait?= now", "Re: café au lait now"),
        ("회의 안내".encode("cp949").decode("utf-8", "surrogateescape"), "회의 안내"),
        ("=?x-unknown?B?!!!?= plain", "plain"),
        ("=?base64?q?abc?=", "abc"),
    ],
)
def test_headers_are_decoded_as_people_read_them(written, meant):
    assert decoded_header(written, "cp949") == meant


@pytest.mark.parametrize("charset", ["ks_c_5601-1987", "euc-kr", "utf-8", None])
def test_a_korean_mail_comes_out_as_written(charset):
    encoding = "utf-8" if charset == "utf-8" else "cp949"
    declared = f"; charset={charset}" if charset else ""
    head = f"Subject: 똠방 회의 안내\r\nFrom: 홍길동 <hong@example.com>\r\nContent-Type: text/plain{declared}\r\n\r\n"
    body = "안녕하십니까. 펲시콜라 회의를 안내합니다.\r\n"

    text, headings, remarks = read((head + body).encode(encoding))

    assert text.startswith("Subject: 똠방 회의 안내\nFrom: 홍길동 <hong@example.com>\n\n안녕하십니까. 펲시콜라 회의를")
    assert headings == [(1, "똠방 회의 안내")]
    assert remarks == []


def test_of_two_forms_of_one_text_the_plain_one_is_read_and_html_where_it_is_alone():
    mail = EmailMessage()
    mail["From"] = "a@example.com"
    mail["Subject"] = "forms"
    mail.set_content("plain words")
    mail.add_alternative("<p>html words</p>", subtype="html")
    alone = EmailMessage()
    alone["From"] = "a@example.com"
    alone["Subject"] = "form"
    alone.set_content("<h1>Title</h1><p>html words</p>", subtype="html")

    assert "plain words" in read(bytes(mail))[0]
    assert "html" not in read(bytes(mail))[0]
    assert read(bytes(alone))[0].count("html words") == 1
    assert read(bytes(alone))[1] == [(1, "form"), (2, "Title")]


def test_attachments_are_read_by_their_own_readers_below_their_names():
    content = hostile_texts.mail_with(
        ("report.pdf", "application/pdf", hostile_files.plain_pdf()),
        ("notes.md", "application/octet-stream", b"# Part\n\nwords of the part"),
    )

    text, headings, remarks = read(content)

    assert "Attachment: report.pdf\n\nHello world" in text
    assert "Attachment: notes.md\n\n# Part\n\nwords of the part" in text
    assert headings == [(1, "Files"), (2, "report.pdf"), (2, "notes.md"), (3, "Part")]
    assert remarks == []


def test_an_attachment_that_cannot_be_read_is_remarked_and_the_others_are_read():
    content = hostile_texts.mail_with(
        ("photo.png", "image/png", b"\x89PNG\r\n\x1a\n...."),
        ("winmail.dat", "application/ms-tnef", b"\x78\x9f\x3e\x22" + bytes(50)),
        ("words.txt", "text/plain", b"still read"),
    )

    text, _, remarks = read(content)

    assert "still read" in text
    assert [(remark.code, remark.detail.split(":")[0]) for remark in remarks] == [
        ("attachment_unreadable", "photo.png"),
        ("attachment_unreadable", "winmail.dat"),
    ]
    assert "ocr_required" in remarks[0].detail


def test_mails_in_mails_are_read_five_deep_and_what_lies_deeper_is_remarked():
    text, _, remarks = read(hostile_texts.nested_mails(8))

    assert "words of level 3" in text
    assert "words of level 1" not in text
    assert [remark.code for remark in remarks] == ["attachment_unreadable"]


def test_attachments_beyond_the_limit_are_one_remark():
    text, _, remarks = read(hostile_texts.many_attachments(300))

    assert "words 199" in text
    assert "words 200" not in text
    assert [remark.detail for remark in remarks] == ["200.txt: 100 attachments are not read any more"]


def test_attachments_share_the_limit_of_text():
    content = hostile_texts.mail_with(*((f"{n}.txt", "text/plain", b"word " * 100) for n in range(5)))
    document = open_document(Original(content, "a.eml", max_text_chars=1500))

    text = "".join(page.text for page in document.pages)

    assert 1000 < len(text) <= 1500
    assert {remark.code for remark in document.remarks} == {"attachment_unreadable"}


def test_a_mail_two_thousand_parts_deep_is_too_deep():
    with pytest.raises(CorruptDocument) as raised:
        read(hostile_texts.nested_multiparts(2000))

    assert raised.value.detail_code == "too_deep"


def test_an_encrypted_mail_is_encrypted():
    with pytest.raises(Encrypted):
        read(b"From: a@example.com\r\nSubject: x\r\nContent-Type: application/pkcs7-mime\r\n\r\nxxxx")


def test_a_mail_without_a_name_is_known_by_its_headers_and_one_saved_as_text_stays_a_text():
    mail = b"Message-ID: <1@example.com>\r\nFrom: a@example.com\r\nSubject: x\r\n\r\nwords"

    assert open_document(Original(mail)).media_type == "message/rfc822"
    assert open_document(Original(mail, "a.txt")).media_type == "text/plain"


def test_a_saved_web_page_is_read_as_the_page():
    page = (
        b"From: <Saved by Blink>\r\nSnapshot-Content-Location: https://example.com/\r\nSubject: page\r\n"
        b'MIME-Version: 1.0\r\nContent-Type: multipart/related; type="text/html"; boundary="x"\r\n\r\n'
        b"--x\r\nContent-Type: text/html\r\n\r\n<html><body><h1>Title</h1>words</body></html>\r\n"
        b"--x\r\nContent-Type: text/css\r\n\r\np{}\r\n--x--\r\n"
    )

    assert read(page, "a.mht")[0] == "Title\n\nwords"


def fixed(*numbers: tuple[int, int], header: int) -> bytes:
    return bytes(header) + b"".join(struct.pack("<HHIQ", 0x0003, tag, 0, value) for tag, value in numbers)


def wide(text: str) -> bytes:
    return text.encode("utf-16-le")


def test_a_message_of_outlook_is_read_with_its_people_and_attachments():
    inner = {
        "__properties_version1.0": fixed(header=24),
        "__substg1.0_0037001F": wide("안쪽"),
        "__substg1.0_1000001F": wide("안쪽 글"),
    }
    message = {
        "__properties_version1.0": fixed((0x3FFD, 949), header=32),
        "__substg1.0_0037001E": "회의 안내".encode("cp949"),
        "__substg1.0_0C1A001F": wide("홍길동"),
        "__substg1.0_5D01001F": wide("hong@example.com"),
        "__substg1.0_1000001E": "본문입니다".encode("cp949"),
        "__recip_version1.0_#00000000": {
            "__properties_version1.0": fixed((0x0C15, 2), header=8),
            "__substg1.0_3001001F": wide("김철수"),
            "__substg1.0_39FE001F": wide("kim@example.com"),
        },
        "__attach_version1.0_#00000000": {
            "__properties_version1.0": fixed(header=8),
            "__substg1.0_3707001F": wide("표.csv"),
            "__substg1.0_37010102": "이름,값\r\n가,1\r\n".encode("cp949") + b" " * 5000,
        },
        "__attach_version1.0_#00000001": {
            "__properties_version1.0": fixed(header=8),
            "__substg1.0_3701000D": inner,
        },
    }

    text, headings, remarks = read(compound_file(message), "a.msg")

    assert text.startswith(
        "Subject: 회의 안내\nFrom: 홍길동 <hong@example.com>\nCc: 김철수 <kim@example.com>\n\n본문입니다"
    )
    assert "Attachment: 표.csv\n\n이름 | 값\n가 | 1" in text
    assert headings == [(1, "회의 안내"), (2, "표.csv"), (2, "안쪽"), (3, "안쪽")]
    assert "안쪽 글" in text
    assert remarks == []
