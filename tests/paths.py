"""Folders that tests read."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SPACES = ROOT / "search_spaces"
SHARED = ROOT.parent / "shared"
"""Real data beside the checkout; tests that need it are skipped where it is absent."""
