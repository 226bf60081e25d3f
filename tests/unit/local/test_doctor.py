from dataclasses import replace
from pathlib import Path

import pytest
from unit.local.gateway import Gateway

from sluice_local import doctor
from sluice_local.doctor import Level, Patient
from sluice_local.stack import Home

NOWHERE = "127.0.0.1:1"


def patient_with(tmp_path: Path, **settings: str) -> Patient:
    return Patient(Home(tmp_path), settings, port=8000, is_running=False)


def levels_of(findings, subject: str) -> list[Level]:
    return [finding.level for finding in findings if finding.subject == subject]


def examine(patient: Patient, *, for_deployment: bool = False):
    return doctor.examine(patient, for_deployment=for_deployment)


def test_stores_without_an_address_are_said_not_to_be_checked(tmp_path):
    findings = examine(patient_with(tmp_path))

    for subject in ("PostgreSQL", "Redis", "Qdrant", "provider", "object store"):
        assert levels_of(findings, subject) == [Level.WARN]


def test_stores_that_do_not_answer_fail_and_no_password_is_shown(tmp_path):
    findings = examine(
        patient_with(
            tmp_path,
            SLUICE_DATABASE__URL=f"postgresql://sluice:hunter2hunter2@{NOWHERE}/sluice",
            SLUICE_BROKER__URL=f"redis://:hunter2hunter2@{NOWHERE}/0",
            SLUICE_QDRANT__URL=f"http://{NOWHERE}",
            SLUICE_EMBEDDINGS__BASE_URL=f"http://{NOWHERE}/v1",
            SLUICE_EMBEDDINGS__MODEL="m",
        )
    )

    for subject in ("PostgreSQL", "Redis", "Qdrant", "provider"):
        assert levels_of(findings, subject) == [Level.FAIL]
    assert "hunter2" not in str(findings)


def test_every_finding_that_is_not_ok_says_how_to_mend_it(tmp_path):
    findings = examine(patient_with(tmp_path, SLUICE_OBJECTS__ROOT="/nowhere"), for_deployment=True)

    assert [finding.subject for finding in findings if finding.level is not Level.OK and not finding.remedy] == []


def program_that_says(folder: Path, *lines: str) -> str:
    program = folder / "tesseract"
    program.write_text("#!/bin/sh\n" + "".join(f"echo {line}\n" for line in lines))
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("languages", "enabled", "level", "said"),
    [
        (["eng", "kor", "osd"], "auto", Level.OK, "reads kor, eng"),
        (["eng", "osd"], "on", Level.WARN, "no kor"),
        (["osd"], "auto", Level.WARN, "no kor, eng"),
        (["osd"], "on", Level.FAIL, "no kor, eng"),
        ([], "auto", Level.WARN, "stays unread"),
        ([], "on", Level.FAIL, "stays unread"),
        ([], "off", Level.OK, "switched off"),
    ],
)
def test_it_is_said_whether_scans_can_be_read(tmp_path, languages, enabled, level, said):
    program = program_that_says(tmp_path, "List of available languages:", *languages) if languages else "no-such"
    patient = patient_with(tmp_path, SLUICE_OCR__PROGRAM=program, SLUICE_OCR__ENABLED=enabled)

    (finding,) = [finding for finding in examine(patient) if finding.subject == "recognition"]

    assert finding.level is level
    assert said in finding.text


@pytest.mark.parametrize(("wanted", "level"), [("3", Level.OK), ("4", Level.FAIL)])
def test_the_dimensions_that_the_provider_answers_are_compared_with_the_settings(tmp_path, wanted, level):
    answer = (200, {"data": [{"embedding": [0.1, 0.2, 0.3]}]})
    with Gateway({"POST /v1/embeddings": answer}) as provider:
        patient = patient_with(
            tmp_path,
            SLUICE_EMBEDDINGS__BASE_URL=f"{provider.url}/v1",
            SLUICE_EMBEDDINGS__MODEL="m",
            SLUICE_EMBEDDINGS__DIMENSIONS=wanted,
        )

        assert levels_of(examine(patient), "provider") == [level]


def test_a_vector_store_that_refuses_the_key_fails(tmp_path):
    with Gateway({"GET /": (200, {"version": "1.16"}), "GET /collections": (401, "")}) as store:
        findings = examine(patient_with(tmp_path, SLUICE_QDRANT__URL=store.url))

    assert levels_of(findings, "Qdrant") == [Level.FAIL]


def test_a_folder_that_cannot_be_written_fails(tmp_path):
    (tmp_path / "objects").write_text("a file, no folder")

    findings = examine(patient_with(tmp_path, SLUICE_OBJECTS__ROOT=str(tmp_path / "objects")))

    assert levels_of(findings, "object store") == [Level.FAIL]


@pytest.mark.parametrize(
    ("url", "level"),
    [
        ("redis://redis:6379/0", Level.FAIL),
        ("redis://:redis@redis:6379/0", Level.FAIL),
        ("redis://:short@redis:6379/0", Level.FAIL),
        ("redis://:7c2e9d4b5f6a@redis:6379/0", Level.OK),
    ],
)
def test_going_live_needs_passwords_that_cannot_be_guessed(tmp_path, url, level):
    findings = list(doctor._check_passwords(patient_with(tmp_path, SLUICE_BROKER__URL=url)))

    assert levels_of(findings, "SLUICE_BROKER__URL") == [level]


@pytest.mark.parametrize(
    ("name", "url", "levels"),
    [
        ("SLUICE_DATABASE__URL", "postgresql://db/x", [Level.WARN]),
        ("SLUICE_DATABASE__URL", "postgresql://db/x?sslmode=verify-full", [Level.OK]),
        ("SLUICE_BROKER__URL", "rediss://redis:6379/0", [Level.OK]),
        ("SLUICE_QDRANT__URL", "http://qdrant:6333", [Level.WARN]),
        ("SLUICE_EMBEDDINGS__BASE_URL", "https://models.example/v1", [Level.OK]),
        ("SLUICE_QDRANT__URL", "http://127.0.0.1:6333", []),
    ],
)
def test_going_live_warns_of_what_is_not_encrypted(tmp_path, name, url, levels):
    assert levels_of(doctor._check_encryption(patient_with(tmp_path, **{name: url})), name) == levels


def test_going_live_refuses_the_small_local_model(tmp_path):
    findings = examine(patient_with(tmp_path, SLUICE_EMBEDDINGS__MODEL="wordllama-256"), for_deployment=True)

    assert levels_of(findings, "model") == [Level.FAIL]


def test_a_full_disk_fails(tmp_path):
    findings = doctor._check_disk(patient_with(tmp_path, SLUICE_LIMITS__MIN_FREE_BYTES=str(2**60)))

    assert levels_of(findings, "disk") == [Level.FAIL]


def test_a_port_in_use_is_a_warning_unless_the_stack_itself_uses_it(tmp_path):
    with Gateway({}) as other:
        patient = replace(patient_with(tmp_path), port=int(other.url.rpartition(":")[2]))

        assert levels_of(doctor._check_gateway(patient), "port") == [Level.WARN]
        assert levels_of(doctor._check_gateway(replace(patient, is_running=True)), "stack") == [Level.OK]


def test_the_exit_status_is_one_when_something_must_be_mended(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLUICE_OBJECTS__ROOT", str(tmp_path / "missing"))

    assert doctor.main(["--home", str(tmp_path)]) == 1

    assert "FAIL  object store" in capsys.readouterr().out
