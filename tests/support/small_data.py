"""Small collections of DICOM for tests of whole jobs."""

from mricore.imaging.phantoms.collection import CollectionSpec, write_collection

SPEC = CollectionSpec(patients=4, matrix=96, slices=8)


def small_collection(folder):
    return write_collection(folder, SPEC)
