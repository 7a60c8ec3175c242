"""One pipeline in three styles: images, arrays of them, and their red channels."""
