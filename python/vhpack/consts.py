"""Names of places and images that the platform and its users' files agree on."""

DEFAULT_DOCKER_IMAGE = "python:3.12-slim"
"""The image of a step whose code names none."""

VH_LOCAL_CONFIG_DIR = ".valohai/config"
VH_LOCAL_INPUTS_DIR = ".valohai/inputs"
VH_LOCAL_OUTPUTS_DIR = ".valohai/outputs"
VH_LOCAL_REPOSITORY_DIR = "."
VH_LOCAL_REGISTRY = ".valohai/registry.db"
VH_LOCAL_STORE_DIR = ".valohai/store"
VH_LOCAL_SPOOL_DIR = ".valohai/spool"
