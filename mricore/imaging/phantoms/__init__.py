"""MR phantoms with anatomy, written as DICOM: input for trying the product, and known masks for tests."""
