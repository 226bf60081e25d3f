"""Reads each document in a child process of its own that can be killed."""

from sluice_extractor.sandbox.reading import Reading, ReadingStopped
from sluice_extractor.sandbox.requests import DrawRequest, Program, ReadLimits, ReadRequest
from sluice_extractor.sandbox.sandbox import Sandbox

__all__ = ["DrawRequest", "Program", "ReadLimits", "ReadRequest", "Reading", "ReadingStopped", "Sandbox"]
