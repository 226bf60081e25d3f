"""Writes what is in each image, as CycloneDX, to build/sbom: `make_sbom.py [name ...]`, of images that are built."""

import json
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any  # JSON has no narrower type

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

ROOT = Path(__file__).parents[1]
SERVICES = ("api", "extractor", "extractor-full", "embedder", "embeddings")
LONGEST_LICENSE = 100
"""Some packages put the whole text where its name belongs."""

LOOK = r"""
import hashlib, json, os, platform, subprocess
from email.parser import Parser

EMPTY = b"sluice_put_nothing_here"

def packages():
    for folder, name in folders_of_packages(".dist-info"):
        metadata = os.path.join(folder, name, "METADATA")
        if os.path.isfile(metadata):
            with open(metadata, encoding="utf-8") as file:
                head = Parser().parse(file, headersonly=True)
            kinds = (line.split(" :: ") for line in head.get_all("Classifier", ()))
            classified = " or ".join(kind[-1] for kind in kinds if kind[0] == "License")
            yield head["Name"], head["Version"], head["License-Expression"] or head["License"] or classified

def libraries():
    for folder, name in folders_of_packages(".libs"):
        for file in os.listdir(os.path.join(folder, name)):
            with open(os.path.join(folder, name, file), "rb") as library:
                content = library.read()
            if EMPTY not in content:
                yield name.removesuffix(".libs"), file, hashlib.sha256(content).hexdigest()

def folders_of_packages(ending):
    for folder, folders, _ in os.walk("/"):
        if folder == "/":
            folders[:] = [name for name in folders if name not in ("proc", "sys", "dev", "tmp", "run")]
        yield from ((folder, name) for name in folders if name.endswith(ending))

query = ["dpkg-query", "--show", "--showformat", r"${Package}\t${Version}\t${Architecture}\n"]
debian = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()
with open("/etc/os-release", encoding="utf-8") as file:
    release = dict(line.strip().split("=", 1) for line in file if "=" in line)
print(json.dumps({
    "python": platform.python_version(),
    "release": release["VERSION_ID"].strip('"'),
    "packages": sorted(set(packages())),
    "libraries": sorted(libraries()),
    "debian": sorted(line.split("\t") for line in debian),
}))
"""


@dataclass(frozen=True)
class Image:
    """One image that the engine has."""

    name: str
    id: str
    version: str
    created: datetime
    contents: dict[str, Any]
    """What the program above printed inside of it."""


def main(names: Sequence[str]) -> int:
    """Write one file for each name; returns the exit status."""
    folder = ROOT / "build" / "sbom"
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or filter(is_built, SERVICES):
        image = look_into(name)
        file = folder / f"{image.name}-{image.version}.cdx.json"
        file.write_text(text_of(bom_of(image)), encoding="utf-8")
        print(
            f"{file.relative_to(ROOT)}: {len(image.contents['packages'])} packages of Python"
            f" with {len(image.contents['libraries'])} libraries, {len(image.contents['debian'])} of Debian"
        )
    return 0


def is_built(name: str) -> bool:
    return docker("image", "ls", "--quiet", f"sluice/{name}:{release()}") != ""


def look_into(name: str) -> Image:
    """Start the image once, without a network and without capabilities, and ask what it has."""
    tag = f"sluice/{name}:{release()}"
    facts = json.loads(docker("image", "inspect", tag))[0]
    walls = ("--rm", "--user=0", "--read-only", "--network=none", "--cap-drop=ALL", "--security-opt=no-new-privileges")
    return Image(
        name=f"sluice-{name}",
        id=facts["Id"],
        version=facts["Config"]["Labels"]["org.opencontainers.image.version"],
        created=datetime.fromisoformat(facts["Created"][:19] + "+00:00"),
        contents=json.loads(docker("run", *walls, tag, "python", "-P", "-c", LOOK)),
    )


def bom_of(image: Image) -> Bom:
    """The same image always gives the same list."""
    bom = Bom(components=components_of(image.contents), serial_number=uuid.uuid5(uuid.NAMESPACE_URL, image.id))
    bom.metadata.timestamp = image.created
    bom.metadata.component = Component(
        name=image.name, version=image.version, type=ComponentType.CONTAINER, bom_ref=image.name
    )
    bom.register_dependency(bom.metadata.component, bom.components)
    return bom


def components_of(contents: dict[str, Any]) -> Iterator[Component]:
    python = contents["python"]
    yield component(PackageURL("generic", None, "python", python), ComponentType.APPLICATION)
    for name, version, license_ in contents["packages"]:
        yield component(PackageURL("pypi", None, re.sub(r"[-_.]+", "-", name).lower(), version), license_=license_)
    for wheel, file, sha256 in contents["libraries"]:
        name, _, version = file.partition(".so")
        named = re.sub(r"_?(-[0-9a-f]{8})*$", "", name)
        url = PackageURL("generic", None, named, version.lstrip(".") or None, {"file_name": f"{wheel}.libs/{file}"})
        yield component(url, sha256=sha256)
    for name, version, architecture in contents["debian"]:
        qualifiers = {"arch": architecture, "distro": f"debian-{contents['release']}"}
        yield component(PackageURL("deb", "debian", name, version, qualifiers))


def component(
    url: PackageURL, type_: ComponentType = ComponentType.LIBRARY, license_: str = "", sha256: str = ""
) -> Component:
    licenses = [LicenseFactory().make_from_string(license_)] if 0 < len(license_) <= LONGEST_LICENSE else []
    hashes = [HashType(alg=HashAlgorithm.SHA_256, content=sha256)] if sha256 else []
    about = {"name": url.name, "version": url.version, "purl": url, "bom_ref": str(url)}
    return Component(**about, type=type_, licenses=licenses, hashes=hashes)


def text_of(bom: Bom) -> str:
    """The list as JSON that keeps to the schema of CycloneDX 1.6."""
    text = JsonV1Dot6(bom).output_as_string(indent=2)
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if error is not None:
        raise AssertionError(str(error)[:500])
    return text + "\n"


def release() -> str:
    """The release that is checked out, which is the tag of its images."""
    text = (ROOT / "libs/common/src/sluice_common/__init__.py").read_text(encoding="utf-8")
    return next(line.split('"')[1] for line in text.splitlines() if line.startswith("__version__"))


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
