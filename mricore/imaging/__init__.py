"""DICOM bytes to slices: headers, pixels, anatomy, volumes, de-identification, phantoms. No torch."""
