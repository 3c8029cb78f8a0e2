"""The objective of DINOv2 where a step has one part."""

from mricore.objective.dinov2 import dinov2_losses, dinov2_targets


def targets_and_losses(student, teacher, masked, centers, settings, temperature, counts, communicator):
    """Losses of a step that is one part, and the next centres."""
    targets, following = dinov2_targets(
        teacher.image_logits, teacher.patch_logits, centers, settings, temperature, communicator
    )
    losses = dinov2_losses(student, targets, masked, settings, counts, sum(counts), communicator)
    return losses, following
