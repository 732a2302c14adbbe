"""Modules of this folder, and the player of recordings, are imported by their plain names."""
import pathlib
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "conform"))
sys.path.insert(0, str(HERE))
