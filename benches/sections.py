"""All sections by name, in the order of the results."""

from __future__ import annotations

from contestants import PACKING
from readers import READING

SECTIONS = {section.name: section for section in (*PACKING, *READING)}
