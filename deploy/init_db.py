"""Makes OpenWhisk's databases on a CouchDB, with the design documents that are in its standalone jar.

    python init_db.py http://couchdb:5984 openwhisk-standalone.jar [--prefix whisk_local_]

Who may do that say COUCHDB_USER and COUCHDB_PASSWORD. What is there already stays. Needs nothing but Python.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

# By the file's name, as its standalone.conf has them.
VIEWS = {
    "subjects": (
        "auth_design_document_for_subjects_db_v2.0.0.json",
        "filter_design_document.json",
        "namespace_throttlings_design_document_for_subjects_db.json",
    ),
    "whisks": ("whisks_design_document_for_entities_db_v2.1.0.json", "filter_design_document.json"),
    "activations": (
        "whisks_design_document_for_activations_db_v2.1.0.json",
        "whisks_design_document_for_activations_db_filters_v2.1.1.json",
        "filter_design_document.json",
        "activations_design_document_for_activations_db.json",
        "logCleanup_design_document_for_activations_db.json",
    ),
}
PATIENCE = 60.0  # seconds, for a server that is starting


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("jar")
    parser.add_argument("--prefix", default="")
    asked = parser.parse_args()
    url = asked.url.rstrip("/")
    documents = documents_in(asked.jar)
    wait_for(url)
    put(f"{url}/_users")
    for database, names in VIEWS.items():
        put(f"{url}/{asked.prefix}{database}")
        for name in names:
            if name not in documents:
                sys.exit(f"{asked.jar} has no {name}")
            document = documents[name]
            put(f"{url}/{asked.prefix}{database}/{quote(document['_id'], safe='/')}", document)
        sys.stdout.write(f"{asked.prefix}{database} is there\n")


def documents_in(jar: str) -> dict[str, Any]:
    """By the name of their file, wherever that is in the jar."""
    wanted = {name for names in VIEWS.values() for name in names}
    with zipfile.ZipFile(jar) as opened:
        found = {PurePosixPath(path).name: path for path in opened.namelist()}
        return {name: json.loads(opened.read(found[name])) for name in wanted & found.keys()}


def wait_for(url: str) -> None:
    until = time.monotonic() + PATIENCE
    while not answers(url):
        if time.monotonic() > until:
            sys.exit(f"{url} does not answer")
        time.sleep(0.5)


def answers(url: str) -> bool:
    try:
        ask("GET", url)
    except urllib.error.HTTPError:
        raise
    except OSError:
        return False
    return True


def put(url: str, document: Any = None) -> None:
    """Unless it is there: 412 says so of a database, 409 of a document."""
    try:
        ask("PUT", url, document)
    except urllib.error.HTTPError as error:
        if error.code not in (409, 412):
            raise


def ask(method: str, url: str, document: Any = None) -> None:
    data = json.dumps(document).encode() if document is not None else None
    request = urllib.request.Request(url, data=data, method=method, headers={"Content-Type": "application/json"})
    user, password = os.environ.get("COUCHDB_USER"), os.environ.get("COUCHDB_PASSWORD", "")
    if user:
        request.add_header("Authorization", f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}")
    with urllib.request.urlopen(request, timeout=15):
        pass


if __name__ == "__main__":
    main()
