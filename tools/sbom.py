#!/usr/bin/env python3
"""Writes the bill of materials of Heddle: SPDX 2.3, JSON.

  sbom.py --version 0.1.0 --output heddle.spdx.json [--cuda 13.0] [--parts models serve]
  sbom.py --check heddle.spdx.json FILE...

The second form reads which shared libraries the FILEs need and fails when one has no package in the
bill. A new dependency is one row in DEPENDENCIES.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import time
import uuid

# name, Debian package that tells the version, licence (SPDX), supplier, home page, relationship to
# heddle, shared libraries it brings
DEPENDENCIES = [
    ("libpng", "libpng-dev", "libpng-2.0", "PNG Reference Library Authors",
     "http://www.libpng.org/pub/png/libpng.html", "DYNAMIC_LINK", ["libpng16.so.16"]),
    ("zlib", "zlib1g-dev", "Zlib", "Jean-loup Gailly and Mark Adler",
     "https://zlib.net", "DYNAMIC_LINK", ["libz.so.1"]),
    ("glibc", "libc6-dev", "LGPL-2.1-or-later", "Free Software Foundation",
     "https://www.gnu.org/software/libc/", "DYNAMIC_LINK",
     ["libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1",
      "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"]),
    ("gcc-runtime", "libstdc++-12-dev", "GPL-3.0-or-later WITH GCC-exception-3.1",
     "Free Software Foundation", "https://gcc.gnu.org", "DYNAMIC_LINK",
     ["libstdc++.so.6", "libgcc_s.so.1", "libatomic.so.1"]),
    ("CLI11", "libcli11-dev", "BSD-3-Clause", "CLI11 authors",
     "https://github.com/CLIUtils/CLI11", "STATIC_LINK", []),
    ("googletest", "libgtest-dev", "BSD-3-Clause", "Google LLC",
     "https://github.com/google/googletest", "TEST_DEPENDENCY_OF", []),
]
# The same for the parts that a build may leave out.
PARTS = {"models": [
    ("nlohmann-json", "nlohmann-json3-dev", "MIT", "Niels Lohmann",
     "https://json.nlohmann.me", "STATIC_LINK", []),
    ("yaml-cpp", "libyaml-cpp-dev", "MIT", "Jesse Beder",
     "https://github.com/jbeder/yaml-cpp", "DYNAMIC_LINK", ["libyaml-cpp.so.0.7"]),
    ("icu", "libicu-dev", "Unicode-DFS-2016", "Unicode, Inc.",
     "https://icu.unicode.org", "DYNAMIC_LINK", ["libicuuc.so.72", "libicui18n.so.72", "libicudata.so.72"]),
    ("sentencepiece", "libsentencepiece-dev", "Apache-2.0", "Google LLC",
     "https://github.com/google/sentencepiece", "DYNAMIC_LINK",
     ["libsentencepiece.so.0", "libsentencepiece_train.so.0"]),
    ("zstd", "libzstd-dev", "BSD-3-Clause", "Meta Platforms, Inc.",
     "https://facebook.github.io/zstd/", "DYNAMIC_LINK", ["libzstd.so.1"]),
], "serve": [
    ("libmicrohttpd", "libmicrohttpd-dev", "LGPL-2.1-or-later", "Free Software Foundation",
     "https://www.gnu.org/software/libmicrohttpd/", "DYNAMIC_LINK", ["libmicrohttpd.so.12"]),
]}
CUDA = ("cuda-runtime", None, "LicenseRef-NVIDIA-CUDA-EULA", "NVIDIA Corporation",
        "https://developer.nvidia.com/cuda-toolkit", "STATIC_LINK", [])
PEOPLE = {"Niels Lohmann", "Jesse Beder"}  # every other supplier is an organization


def debian_versions(package):
    """(upstream, full) version as installed, or (None, None) where dpkg does not know the package."""
    try:
        done = subprocess.run(
            ["dpkg-query", "-W", "-f", "${source:Upstream-Version} ${Version}", package],
            capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None, None
    upstream, _, full = done.stdout.strip().partition(" ")
    return (upstream, full) if done.returncode == 0 and full else (None, None)


def creation_time():
    """SOURCE_DATE_EPOCH or the last commit's time, so that the same tree gives the same file."""
    seconds = os.environ.get("SOURCE_DATE_EPOCH")
    if not seconds:
        here = os.path.dirname(os.path.abspath(__file__))
        try:
            done = subprocess.run(["git", "-C", here, "log", "-1", "--format=%ct"],
                                  capture_output=True, text=True, check=False)
            seconds = done.stdout.strip()
        except FileNotFoundError:
            pass
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(seconds or 0)))


def spdx_package(name, version, licence, supplier, home):
    kind = "Person" if supplier in PEOPLE else "Organization"
    package = {
        "SPDXID": "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", name),
        "name": name,
        "versionInfo": version or "NOASSERTION",
        "supplier": f"{kind}: {supplier}",
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": licence,
        "licenseDeclared": licence,
        "copyrightText": "NOASSERTION",
    }
    if home:
        package["homepage"] = home
    return package


def document(version, cuda, parts):
    root = spdx_package("heddle", version, "Apache-2.0", "Heddle authors", None)
    root["copyrightText"] = "Copyright 2026 Heddle authors"
    packages, relations = [root], [("SPDXRef-DOCUMENT", "DESCRIBES", root["SPDXID"])]
    rows = DEPENDENCIES + [row for part in parts for row in PARTS[part]] + ([CUDA] if cuda else [])
    for name, debian, licence, supplier, home, relation, libraries in rows:
        found, full = debian_versions(debian) if debian else (cuda, None)
        package = spdx_package(name, found, licence, supplier, home)
        if full:
            package["externalRefs"] = [{
                "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
                "referenceLocator": f"pkg:deb/debian/{debian}@{full}"}]
        if libraries:
            package["comment"] = "shared libraries: " + " ".join(libraries)
        packages.append(package)
        if relation.endswith("_OF"):
            relations.append((package["SPDXID"], relation, root["SPDXID"]))
        else:
            relations.append((root["SPDXID"], relation, package["SPDXID"]))
    result = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"heddle-{version}",
        "creationInfo": {"created": creation_time(), "creators": ["Tool: heddle-sbom"]},
        "packages": packages,
        "relationships": [{"spdxElementId": a, "relationshipType": r, "relatedSpdxElement": b}
                          for a, r, b in relations],
    }
    if cuda:
        result["hasExtractedLicensingInfos"] = [{
            "licenseId": CUDA[2], "name": "NVIDIA CUDA Toolkit EULA",
            "extractedText": "https://docs.nvidia.com/cuda/eula/"}]
    digest = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(result, sort_keys=True))
    result["documentNamespace"] = f"urn:uuid:{digest}"
    return result


def needed_libraries(path):
    text = subprocess.run(["readelf", "-d", path], capture_output=True, text=True, check=True).stdout
    return re.findall(r"\(NEEDED\).*\[(.+)\]", text)


def check(sbom, files):
    """Every library the files need is named by a package of the bill, with a version and licence."""
    with open(sbom, encoding="utf-8") as file:
        packages = json.load(file)["packages"]
    errors = [f"{p['name']}: no {key}" for p in packages
              for key in ("versionInfo", "licenseConcluded") if p[key] == "NOASSERTION"]
    known = {"libheddle.so.0"}
    for package in packages:
        known.update(package.get("comment", "").split())
    for path in files:
        errors += [f"{path} needs {library}, which no package in {sbom} brings"
                   for library in needed_libraries(path) if library not in known]
    for error in errors:
        print(error, file=sys.stderr)
    return 1 if errors else 0


def main():
    parser = argparse.ArgumentParser(description="Heddle's bill of materials (SPDX 2.3 JSON)")
    parser.add_argument("--version")
    parser.add_argument("--cuda", help="version of the CUDA toolkit, when kernels are built")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=[], help="parts that are built")
    parser.add_argument("--output")
    parser.add_argument("--check", metavar="SBOM")
    parser.add_argument("files", nargs="*")
    arguments = parser.parse_args()
    if arguments.check:
        return check(arguments.check, arguments.files)
    if not arguments.version or not arguments.output:
        parser.error("expected --version and --output, or --check")
    with open(arguments.output, "w", encoding="utf-8") as file:
        json.dump(document(arguments.version, arguments.cuda, arguments.parts), file, indent=2)
        file.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
