"""All sections by name, in the order of the results."""

from __future__ import annotations

from contestants import PACKING
from directories import DIRECTORY
from modelling import MODELLING
from readers import READING
from registering import REGISTERING
from uploading import UPLOADING

SECTIONS = {section.name: section for section in (*PACKING, *READING, *UPLOADING, *REGISTERING, DIRECTORY, MODELLING)}
