"""A process of a command-line client that shares one login with others, for a while.

    python -m tests.proofs.one_process URL FOLDER SECONDS SEED [thief]

It refreshes all the time by its own copies of what it once read, loses answers, and starts again.
At the end it prints what it has seen, as JSON.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from pathlib import Path

import httpx2

from examples.command_line_client.kept_login import ClientKey


def main(url: str, folder: Path, seconds: float, seed: int, *, steals: bool) -> None:
    seen: Counter[str] = Counter()
    chance, ends = random.Random(seed), time.monotonic() + seconds
    key_file = folder / ("thief.pem" if steals else "key.pem")
    text = json.loads((folder / "tokens.json").read_text())["refresh_token"]
    enough = "400 invalid_grant" if steals else "200"
    while time.monotonic() < ends or not seen[enough]:
        seen["started"] += 1  # with the copy that it has, and the key from the file
        key, nonce = ClientKey(key_file), None
        with httpx2.Client(base_url=url, timeout=30) as client:
            for _ in range(chance.randrange(1, 12)):
                members = {"grant_type": "refresh_token", "refresh_token": text}
                proof = {"DPoP": key.proof("POST", f"{url}/auth/refresh", nonce)}
                if steals and chance.random() < 0.3:
                    proof = {}
                answer = client.post("/auth/refresh", json=members, headers=proof)
                nonce = answer.headers.get("DPoP-Nonce", nonce)
                if answer.status_code == 503:
                    time.sleep(float(answer.headers["Retry-After"]))
                error = answer.json().get("error", "") if answer.status_code != 200 else ""
                seen[f"{answer.status_code} {error}".strip()] += 1
                if answer.status_code == 200 and chance.random() < 0.5:  # else the answer is lost
                    text = answer.json()["refresh_token"]
                    bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
                    seen[f"notes {client.get('/notes', headers=bearer).status_code}"] += 1
                time.sleep(chance.random() / 20)
    sys.stdout.write(json.dumps(seen))


if __name__ == "__main__":
    to, where, lasts, number, *more = sys.argv[1:]
    main(to, Path(where), float(lasts), int(number), steals=more == ["thief"])
