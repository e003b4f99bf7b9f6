"""Samples of the Platform API, as its page prints them."""

from __future__ import annotations

import json
from pathlib import Path

SAMPLES = Path(__file__).parents[3] / "samples" / "platform"
FULL_LEAD = json.loads((SAMPLES / "lead_unfolded.json").read_text())
SECRETS = ("+61499999999", "0499", "secret-cursor", "10000001")
